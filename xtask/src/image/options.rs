//! The command line of `cargo xtask image`, parsed into what is wanted.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use lexopt::{Arg, Parser, ValueExt};

use super::archive::Format;
use super::{Addition, Recipe};
use crate::arch::Arch;

/// What the chore is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// What goes into the image.
    pub recipe: Recipe,
    /// Its form.
    pub format: Format,
    /// Where it is written.
    pub output: PathBuf,
}

const USAGE: &str = "\
usage: cargo xtask image [--arch x86_64|aarch64] [--modules KERNEL|DIR|RELEASE] [--add HOSTPATH[:GUESTPATH]]...
                         [--shell] [--init PATH] [--key FILE] [--format cpio|cpio.gz|cpio.zst] -o FILE";

/// Reads the words after `image`.
///
/// # Errors
/// The first one that cannot be understood, or no `-o`.
pub fn parse(arguments: Vec<OsString>) -> Result<Options> {
    let mut recipe = Recipe::new(Arch::host()?);
    let (mut format, mut output) = (None, None);
    let mut parser = Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("arch") => recipe.arch = Arch::parse(&parser.value()?.string()?)?,
            Arg::Long("modules") => recipe.modules = Some(parser.value()?.into()),
            Arg::Long("add") => recipe.additions.push(addition(&parser.value()?.string()?)?),
            Arg::Long("shell") => recipe.shell = true,
            Arg::Long("key") => recipe.key = Some(parser.value()?.into()),
            Arg::Long("init") => recipe.init = Some(parser.value()?.into()),
            Arg::Long("format") => format = Some(Format::parse(&parser.value()?.string()?)?),
            Arg::Short('o') | Arg::Long("output") => output = Some(PathBuf::from(parser.value()?)),
            other => bail!("{}\n{USAGE}", other.unexpected()),
        }
    }
    let output = output.with_context(|| format!("no -o FILE\n{USAGE}"))?;
    let format = format.unwrap_or_else(|| format_of(&output));
    Ok(Options { recipe, format, output })
}

/// `HOSTPATH[:GUESTPATH]`, parted at the last colon. Without a guest's path it is the host's.
fn addition(word: &str) -> Result<Addition> {
    let (source, place) = match word.rsplit_once(':') {
        Some(parts) => parts,
        None => (word, word),
    };
    if source.is_empty() || place.is_empty() {
        bail!("--add wants HOSTPATH[:GUESTPATH], not {word}");
    }
    Ok(Addition { source: source.into(), place: place.to_owned() })
}

/// What the file's name promises.
fn format_of(output: &std::path::Path) -> Format {
    match output.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Format::Gzip,
        Some("zst") => Format::Zstd,
        _ => Format::Cpio,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn every_option_has_its_place() {
        let options = parsed(
            "--arch arm64 --modules /boot/vmlinuz-6 --add a --add b:/c --shell --init i --key k --format cpio.gz -o x",
        )
        .unwrap();
        let recipe = options.recipe;
        assert_eq!((recipe.arch, recipe.shell), (Arch::Aarch64, true));
        assert_eq!((recipe.modules, recipe.init), (Some("/boot/vmlinuz-6".into()), Some("i".into())));
        assert_eq!(recipe.key, Some("k".into()));
        let places: Vec<&str> = recipe.additions.iter().map(|addition| addition.place.as_str()).collect();
        assert_eq!(places, ["a", "/c"]);
        assert_eq!((options.format, options.output), (Format::Gzip, "x".into()));
    }

    #[test]
    fn the_name_of_the_file_decides_where_no_format_was_named() {
        for (name, format) in [("i", Format::Cpio), ("i.cpio.gz", Format::Gzip), ("i.cpio.zst", Format::Zstd)]
        {
            assert_eq!(parsed(&format!("-o {name}")).unwrap().format, format);
        }
        assert_eq!(parsed("--format cpio -o i.gz").unwrap().format, Format::Cpio);
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for wrong in
            ["", "--shell", "-o", "-o f --arch vax", "-o f --format tar", "-o f --add :x", "-o f word"]
        {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
