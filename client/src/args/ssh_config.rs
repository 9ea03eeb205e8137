//! Owns the command line of `ssh-config`, and which names of the configuration it is about.

use super::{ArgsError, Words, fail, shown};
use crate::config::Entry;
use crate::flags::Use;
use crate::invocation::{Invocation, SshConfig, SshName};
use crate::options::Options;
use crate::target::{Address, DEFAULT_PORT, Target};

impl Words<'_> {
    pub(super) fn into_ssh_config(self) -> Result<Invocation, ArgsError> {
        self.options.refuse_except(Use::SshConfig)?;
        if let Some(word) = self.operands.first() {
            return fail(format!("`{}` is one word too many: ssh-config is about every target", shown(word)));
        }
        let config = self.names.config().map_err(|error| ArgsError(error.to_string()))?;
        let names = config.entries().iter().map(name).collect();
        let Options { user, port, timeout, key, .. } = self.options;
        Ok(Invocation::SshConfig(SshConfig { user, port, timeout, key, names }))
    }
}

/// A name or a pattern. What has no address is a guest of this machine; what has one that is none may be anywhere.
fn name(entry: &Entry) -> SshName {
    let is_near = entry.address_of(&entry.name).is_none_or(|address| {
        let target = Target::parse(address.as_ref(), DEFAULT_PORT);
        target.is_ok_and(|target| match target.address {
            Address::Vsock { .. } | Address::Mux { .. } | Address::Unix(_) | Address::Serial(_) => true,
            Address::Tcp { .. } | Address::Exec(_) | Address::Listen(_) => false,
        })
    });
    SshName { name: entry.name.clone(), is_near }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse_named;
    use crate::config::{Config, Vocabulary};
    use crate::names::Names;

    const TEXT: &str = r#"
        [targets.box]
        address = "unix:/run/box.sock"
        [targets.running]
        user = "root"
        [targets.far]
        address = "tcp:example:7"
        [targets.through]
        address = "exec:ssh host agent"
        [targets."ci-*"]
        address = "mux:/run/{name}.sock"
        [targets."lab-?"]
        address = "tcp:{name}:5000"
    "#;

    #[test]
    fn each_name_and_pattern_is_near_where_its_address_ends_here() {
        let vocabulary = Vocabulary { options: &["user"], verbs: &[] };
        let names =
            Names::new(move || Config::read_text("configuration".as_ref(), TEXT, None, vocabulary), Vec::new);
        let Ok(Invocation::SshConfig(wish)) = parse_named(["ssh-config", "--user", "me"], &names) else {
            panic!("it is ssh-config")
        };
        let names: Vec<_> = wish.names.iter().map(|name| (name.name.as_str(), name.is_near)).collect();
        let expected = [
            ("box", true),
            ("running", true),
            ("far", false),
            ("through", false),
            ("ci-*", true),
            ("lab-?", false),
        ];
        assert_eq!((names.as_slice(), wish.user), (&expected[..], Some("me".into())));
    }
}
