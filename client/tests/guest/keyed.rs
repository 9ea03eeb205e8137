//! Guests whose agent has a key.

use std::path::{Path, PathBuf};
use std::process::Command;

use vsock_shell_proto::preamble::{Dialer, SessionId};

use super::{Finished, Guest, Running, agent_binary, client};

/// A guest whose agent has a key, and the file with it.
pub fn keyed() -> (Guest, PathBuf) {
    let guest = Guest::start_by(|directory| {
        generate(&directory.path("key")).succeeded();
        let mut command = Command::new(agent_binary());
        command.args(["--grace", "0", "--key"]).arg(directory.path("key"));
        command
    });
    let key = guest.directory.path("key");
    (guest, key)
}

/// Makes a key.
pub fn generate(path: &Path) -> Finished {
    Running::start(&mut client(["keygen".as_ref(), path.as_os_str()])).finish(b"")
}

/// A preamble with PROOF.
pub fn preamble(id: u8) -> [u8; 64] {
    let mut preamble = Dialer::new(SessionId([id; 16])).next_preamble(0, [id; 16]);
    preamble.wants_proof = true;
    preamble.encode()
}
