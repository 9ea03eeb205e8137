//! One try to connect to an address: in which step it failed, and what that means for this kind of address.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

use super::Finding;
use super::context::HOST;
use crate::dial::{DialError, Step};
use crate::target::Address;
use crate::text::{escape, reason};

/// Why a try was in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// In which step.
    pub step: Step,
    /// What kind of failure it is, where it has no number.
    pub kind: ErrorKind,
    /// Its number, where it is the system's.
    pub errno: Option<Errno>,
    /// The failure in words.
    pub text: String,
}

impl Failed {
    /// What has failed in a try.
    pub fn of(error: &DialError) -> Self {
        Self::new(error.step(), error.cause())
    }

    fn new(step: Step, error: &io::Error) -> Self {
        let text = escape(reason(error).as_bytes()).into_owned();
        Self { step, kind: error.kind(), errno: Errno::from_io_error(error), text }
    }
}

/// What came of a try.
pub fn judge(address: &Address, tried: &Result<(), Failed>) -> Finding {
    let check = match address {
        Address::Exec(_) => "command",
        _ => "connection",
    };
    let failed = match tried {
        Ok(()) => return Finding::fine(check, fine(address)),
        Err(failed) => failed,
    };
    let advice = match (failed.step, address) {
        (Step::Resolve, _) => {
            "is the name right, and does a name server answer? an address needs none".to_owned()
        }
        (Step::Spawn, _) => "is there a /bin/sh?".to_owned(),
        (Step::Greet, Address::Mux { port, .. }) => greeting(failed, *port),
        (_, Address::Vsock { cid, port }) => vsock(failed.errno, *cid, *port),
        (_, Address::Tcp { .. }) => tcp(failed.errno).to_owned(),
        (_, Address::Serial(_)) => serial(failed.errno).to_owned(),
        _ => unix(failed.errno).to_owned(),
    };
    Finding::failed(check, format!("{address}: {}", failed.text), advice)
}

fn fine(address: &Address) -> String {
    match address {
        Address::Mux { port, .. } => format!("somebody in the guest listens on port {port}"),
        Address::Vsock { port, .. } => format!("somebody listens on port {port}"),
        Address::Exec(_) => "it was started".to_owned(),
        Address::Serial(_) => "the port is open".to_owned(),
        _ => "somebody listens".to_owned(),
    }
}

/// What to do about a port on which nobody listens.
fn no_listener(port: u32) -> String {
    format!(
        "is the agent started in the guest, and on port {port}? it tells its port where it was started; \
         -p PORT reaches another"
    )
}

fn vsock(errno: Option<Errno>, cid: u32, port: u32) -> String {
    match errno {
        Some(Errno::NODEV | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::ADDRNOTAVAIL) => {
            format!("start the guest, with a vsock device of context id {cid}; is vhost_vsock loaded here?")
        }
        Some(Errno::CONNRESET | Errno::CONNREFUSED) => no_listener(port),
        Some(Errno::TIMEDOUT) if cid == HOST => {
            format!(
                "nobody on the host answers on port {port}; an agent there needs --allow-cid, for this guest"
            )
        }
        Some(Errno::TIMEDOUT) => {
            "nobody answers: does the guest still boot, is it paused, has it the module \
             vmw_vsock_virtio_transport? --timeout waits longer"
                .to_owned()
        }
        Some(Errno::PERM | Errno::ACCESS) => {
            "something forbids it: a container's seccomp profile, or a policy such as SELinux's".to_owned()
        }
        Some(Errno::AFNOSUPPORT) => "as root: modprobe vhost_vsock; in a container, its seccomp profile \
                                     may hide AF_VSOCK"
            .to_owned(),
        _ => no_listener(port),
    }
}

fn greeting(failed: &Failed, port: u32) -> String {
    match (failed.kind, failed.errno) {
        (ErrorKind::InvalidData, _) => {
            "is it the vsock socket of a virtual machine? a plain one is written unix:PATH".to_owned()
        }
        (_, Some(Errno::TIMEDOUT)) => {
            "nobody answers for the guest: does it still boot, or is it paused? --timeout waits longer; \
             a plain socket is written unix:PATH"
                .to_owned()
        }
        _ => no_listener(port),
    }
}

const fn unix(errno: Option<Errno>) -> &'static str {
    match errno {
        Some(Errno::CONNREFUSED) => {
            "nobody listens: the process that made the socket has ended; start it again"
        }
        Some(Errno::ACCESS | Errno::PERM) => "be the socket's owner, with sudo",
        Some(Errno::PROTOTYPE) => "it is a socket for datagrams or packets; a stream socket is needed",
        Some(Errno::AGAIN | Errno::TIMEDOUT) => {
            "too many wait to be accepted: is the process that listens stopped, or hung?"
        }
        _ => "is the process that listens there running?",
    }
}

const fn tcp(errno: Option<Errno>) -> &'static str {
    match errno {
        Some(Errno::CONNREFUSED) => {
            "the host is there, and nobody listens on this port: start the agent with --listen tcp:ADDRESS:PORT \
             and a key, or what forwards to it"
        }
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH) => {
            "no way leads there: look at ip route, and at firewalls"
        }
        Some(Errno::TIMEDOUT) => {
            "nobody answers: is the host up, or does a firewall drop it? --timeout waits longer"
        }
        _ => "is the agent, or what forwards to it, listening there?",
    }
}

const fn serial(errno: Option<Errno>) -> &'static str {
    match errno {
        Some(Errno::ACCESS | Errno::PERM) => "be in the port's group, often dialout, or root",
        Some(Errno::BUSY) => "somebody has it for himself: end what uses the port",
        Some(Errno::CONNREFUSED) => "nobody listens: the virtual machine has ended; start it again",
        Some(Errno::IO | Errno::NXIO | Errno::NODEV) => {
            "there is no line behind the device; is another one meant?"
        }
        _ => "is the virtual machine running?",
    }
}

#[cfg(test)]
mod tests {
    use super::super::Result as Found;
    use super::*;

    #[track_caller]
    fn advice(address: &Address, step: Step, error: &io::Error) -> String {
        let finding = judge(address, &Err(Failed::new(step, error)));
        assert_eq!(finding.result, Found::Failed);
        assert!(!finding.seen.is_empty() && !finding.seen.contains("os error"), "{finding:?}");
        finding.advice.unwrap()
    }

    #[track_caller]
    fn check(address: &Address, step: Step, cases: &[(Errno, &str)]) {
        for (errno, words) in cases {
            let advice = advice(address, step, &(*errno).into());
            assert!(advice.contains(words), "{errno:?}: {advice}");
        }
    }

    #[test]
    fn each_failure_of_vsock_has_its_reason() {
        check(
            &Address::Vsock { cid: 7, port: 5001 },
            Step::Connect,
            &[
                (Errno::NODEV, "start the guest, with a vsock device of context id 7"),
                (Errno::CONNRESET, "started in the guest, and on port 5001"),
                (Errno::CONNREFUSED, "-p PORT"),
                (Errno::TIMEDOUT, "vmw_vsock_virtio_transport"),
                (Errno::PERM, "seccomp"),
                (Errno::ACCESS, "SELinux"),
                (Errno::AFNOSUPPORT, "modprobe vhost_vsock"),
                (Errno::PIPE, "is the agent started"),
            ],
        );
    }

    #[test]
    fn each_failure_of_a_socket_has_its_reason() {
        let cases = [
            (Errno::CONNREFUSED, "the process that made the socket has ended"),
            (Errno::ACCESS, "with sudo"),
            (Errno::PROTOTYPE, "stream socket"),
            (Errno::AGAIN, "stopped, or hung"),
            (Errno::NOENT, "running?"),
        ];
        check(&Address::Unix("/a".into()), Step::Connect, &cases);
        check(&Address::Mux { path: "/a".into(), port: 1 }, Step::Connect, &cases);
    }

    #[test]
    fn what_the_socket_of_a_guests_ports_says_is_understood() {
        let mux = Address::Mux { path: "/a".into(), port: 5001 };
        let closed = io::Error::new(ErrorKind::UnexpectedEof, "closed");
        assert!(advice(&mux, Step::Greet, &closed).contains("on port 5001"));
        let wrong = io::Error::new(ErrorKind::InvalidData, "it answered `\u{1b}`");
        assert!(advice(&mux, Step::Greet, &wrong).contains("unix:PATH"));
        assert!(!judge(&mux, &Err(Failed::new(Step::Greet, &wrong))).seen.contains('\u{1b}'));
        check(&mux, Step::Greet, &[(Errno::TIMEDOUT, "still boot"), (Errno::CONNRESET, "on port 5001")]);
    }

    #[test]
    fn each_failure_of_tcp_and_of_a_port_has_its_reason() {
        check(
            &Address::Tcp { host: "h".into(), port: 1 },
            Step::Connect,
            &[
                (Errno::CONNREFUSED, "nobody listens on this port"),
                (Errno::HOSTUNREACH, "ip route"),
                (Errno::NETUNREACH, "ip route"),
                (Errno::TIMEDOUT, "firewall"),
                (Errno::CONNRESET, "listening there"),
            ],
        );
        let none = io::Error::new(ErrorKind::NotFound, "no such name");
        let tcp = Address::Tcp { host: "h".into(), port: 1 };
        assert!(advice(&tcp, Step::Resolve, &none).contains("name server"));
        check(
            &Address::Serial("/a".into()),
            Step::Connect,
            &[
                (Errno::ACCESS, "dialout"),
                (Errno::BUSY, "for himself"),
                (Errno::CONNREFUSED, "has ended"),
                (Errno::IO, "no line behind"),
                (Errno::NOENT, "running?"),
            ],
        );
        check(&Address::Exec("x".into()), Step::Spawn, &[(Errno::NOENT, "/bin/sh")]);
    }

    #[test]
    fn a_connection_is_fine() {
        for address in [
            Address::Vsock { cid: 3, port: 1 },
            Address::Mux { path: "/a".into(), port: 1 },
            Address::Unix("/a".into()),
            Address::Tcp { host: "h".into(), port: 1 },
            Address::Serial("/a".into()),
            Address::Exec("x".into()),
        ] {
            assert_eq!(judge(&address, &Ok(())).result, Found::Fine);
        }
    }
}
