//! Owns the names of signals, by the generic numbers that the protocol has.

use std::borrow::Cow;

/// The name of a signal by its generic Linux number, as `kill -l` has it, with `SIG` before it.
pub fn of(number: u8) -> Cow<'static, str> {
    // The C library keeps the first two real-time signals for itself; people count from its SIGRTMIN.
    const SIGRTMIN: u8 = 34;
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    match number {
        SIGRTMIN => Cow::Borrowed("SIGRTMIN"),
        35..=64 => Cow::Owned(format!("SIGRTMIN+{}", number - SIGRTMIN)),
        _ => match NAMES.get(usize::from(number).wrapping_sub(1)) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("SIG{number}")),
        },
    }
}

/// The number of a signal by its name, with or without `SIG`, or by its number.
pub fn number_of(word: &str) -> Option<u32> {
    let named =
        |number: &u8| of(*number).strip_prefix("SIG") == Some(word.strip_prefix("SIG").unwrap_or(word));
    (1..=64).find(|number: &u8| number.to_string() == word || named(number)).map(u32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_names_of_kill() {
        for (number, name) in [
            (1, "SIGHUP"),
            (9, "SIGKILL"),
            (15, "SIGTERM"),
            (31, "SIGSYS"),
            (34, "SIGRTMIN"),
            (35, "SIGRTMIN+1"),
            (64, "SIGRTMIN+30"),
            (0, "SIG0"),
            (32, "SIG32"),
            (200, "SIG200"),
        ] {
            assert_eq!(of(number), name);
        }
        for number in 1..=31 {
            assert_eq!(
                signal_hook::low_level::signal_name(i32::from(number)).unwrap_or(&of(number)),
                of(number)
            );
        }
    }

    #[test]
    fn a_number_is_found_by_itself_and_by_its_names() {
        for word in ["9", "KILL", "SIGKILL"] {
            assert_eq!(number_of(word), Some(9), "{word}");
        }
        assert_eq!(number_of("RTMIN+2"), Some(36));
        for word in ["", "0", "65", "kill", "SIG", "-9", "T"] {
            assert_eq!(number_of(word), None, "{word}");
        }
    }
}
