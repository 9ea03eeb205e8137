//! The architectures that guests have, and what everybody calls them.

use std::fmt;

use anyhow::{Result, bail};

/// An architecture that there is an agent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The one that this program runs on.
    ///
    /// # Errors
    /// There is no agent for it.
    pub fn host() -> Result<Self> {
        Self::parse(std::env::consts::ARCH)
    }

    /// Reads Linux's name or Debian's.
    ///
    /// # Errors
    /// Neither.
    pub fn parse(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|arch| [arch.name(), arch.debian()].contains(&name)) {
            Some(arch) => Ok(arch),
            None => bail!("no such architecture: {name} (there are x86_64 and aarch64)"),
        }
    }

    /// Linux's name, which is Rust's too.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Debian's name.
    pub fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Rust's target with musl.
    pub fn musl_target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_linuxs_and_debians_names_are_understood() {
        for arch in Arch::ALL {
            assert_eq!(Arch::parse(arch.name()).unwrap(), arch);
            assert_eq!(Arch::parse(arch.debian()).unwrap(), arch);
        }
        assert!(Arch::parse("vax").is_err());
    }
}
