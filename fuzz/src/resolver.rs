//! What the agent reads to find a host: messages of name servers, which anybody on the way may write, and the files `hosts` and
//! `resolv.conf`.

use vsock_shell_agent::resolve::{ADDRESSES_MAX, Addresses, MESSAGE_MAX, Question, Reply, Servers, add_host};

use crate::input::Input;

/// A name, messages in answer to the question for it, and lines of both files.
pub fn names(data: &[u8]) {
    let mut input = Input::new(data);
    let name = input.piece().to_vec();
    let domain = input.piece().to_vec();
    let mut found = Addresses::new();
    let mut servers = Servers::new();
    if let Some(question) = Question::new(&name, &domain) {
        let mut reply = Reply::new(&question, [1, 2, 3, 4]);
        let queries = reply.queries();
        assert!(queries.iter().all(|query| query.len() <= MESSAGE_MAX));
        while let Some(choice) = input.taken() {
            // Mostly right at the front, or nothing behind it would ever be read.
            let rest = input.piece();
            let mut message = queries[usize::from(choice & 1)].to_vec();
            if choice & 2 == 0 {
                message.extend_from_slice(rest);
                message[2] |= 0x80;
                message[7] = choice >> 2;
            } else {
                message = rest.to_vec();
            }
            let before = reply.addresses.len();
            reply.take(&message);
            assert!(reply.addresses.len() >= before && reply.addresses.len() <= ADDRESSES_MAX);
        }
        return;
    }
    while input.taken().is_some() {
        let line = input.piece();
        let before = found.len();
        add_host(line, &name, &mut found);
        assert!(found.len() - before <= 1);
        servers.read(line);
    }
    // The order in which a name is looked for has the name itself once, or only that where it is complete.
    let domains: Vec<_> = servers.domains_for(&name).collect();
    assert_eq!(domains.iter().filter(|domain| domain.is_empty()).count(), 1, "{domains:?}");
}
