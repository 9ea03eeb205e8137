//! The numbers by which the two sides tell each other why: one table for each family.

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident: $unknown:ident { $($variant:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name {
            $(#[doc = $text] $variant = $value,)*
        }

        impl $name {
            /// All codes, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code of a number; an unknown number means the most general code.
            #[must_use]
            #[inline(never)]
            pub fn from_number(number: u32) -> Self {
                match number {
                    $($value => Self::$variant,)*
                    _ => Self::$unknown,
                }
            }

            /// The number that stands for the code on the wire.
            #[must_use]
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// What the code means, for people: a phrase without a full stop.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// Why a session or a channel ended (`PROTOCOL.md` §7): the codes of CLOSE, BYE and RESET. Those from 0x10 on
    /// are mistakes of a peer, named after the rule that it broke.
    CloseCode: Internal {
        Normal = 0, "the session ended";
        ShuttingDown = 1, "the agent is shutting down";
        TakenOver = 2, "another connection took the session over";
        Cancelled = 3, "cancelled";
        Internal = 4, "internal error";
        RecordType = 0x10, "unknown record type";
        RecordLength = 0x11, "record of a wrong length";
        AckRange = 0x12, "acknowledgement of what was never sent";
        FrameType = 0x20, "unknown frame type";
        FrameLength = 0x21, "frame of a wrong length";
        Hello = 0x22, "HELLO missing or repeated";
        Feature = 0x23, "a required feature is not known";
        ChannelId = 0x24, "wrong channel id";
        ChannelState = 0x25, "frame for a channel that is not open";
        Flow = 0x26, "wrong flow";
        CreditExceeded = 0x27, "more data than credit";
        CreditRange = 0x28, "credit that goes back";
        Value = 0x29, "value out of range";
    }
}

codes! {
    /// Why a channel was refused (`PROTOCOL.md` §6).
    RefusalCode: System {
        Unsupported = 1, "not supported by this agent";
        Malformed = 2, "malformed request";
        TooLarge = 3, "request too large";
        TooMany = 4, "too many channels";
        NoUser = 5, "no such user";
        NoShell = 6, "no shell";
        NotFound = 7, "not found";
        CannotExecute = 8, "cannot be executed";
        System = 9, "system call failed";
        Denied = 10, "denied by the agent";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_survives_its_number() {
        assert!(CloseCode::ALL.iter().all(|&code| CloseCode::from_number(code.number()) == code));
        assert!(RefusalCode::ALL.iter().all(|&code| RefusalCode::from_number(code.number()) == code));
    }

    #[test]
    fn an_unknown_number_is_the_general_code() {
        assert_eq!(CloseCode::from_number(0xFFFF), CloseCode::Internal);
        assert_eq!(RefusalCode::from_number(0), RefusalCode::System);
    }
}
