//! A tree as the kernel wants it: a cpio archive of the `newc` kind, plain or compressed.
//!
//! Two archives of the same tree are the same bytes: inodes count from one, and every time stamp is `SOURCE_DATE_EPOCH`, or
//! zero.

use std::io::Write;

use anyhow::{Context, Result, bail};
use cpio::newc::{Builder, ModeFileType, trailer};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::tree::{Content, Tree};

/// As strong as it gets within the window that the kernel's own decompressor has.
const ZSTD_LEVEL: i32 = 19;

/// The form of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Plain.
    Cpio,
    /// By gzip.
    Gzip,
    /// By zstd; Linux reads it since 5.9.
    Zstd,
}

impl Format {
    /// Reads `cpio`, `cpio.gz` or `cpio.zst`.
    ///
    /// # Errors
    /// None of these.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "cpio" => Ok(Self::Cpio),
            "cpio.gz" => Ok(Self::Gzip),
            "cpio.zst" => Ok(Self::Zstd),
            _ => bail!("no such format: {name} (there are cpio, cpio.gz and cpio.zst)"),
        }
    }
}

/// The time stamp of everything: `SOURCE_DATE_EPOCH` (reproducible-builds.org), else zero.
///
/// # Errors
/// It is no number of seconds that fits the archive.
pub fn time_stamp() -> Result<u32> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds.parse().with_context(|| format!("SOURCE_DATE_EPOCH is {seconds}")),
        Err(_) => Ok(0),
    }
}

/// The tree's bytes in this form.
///
/// # Errors
/// A file is larger than an archive can hold, 4 GiB.
pub fn pack(tree: &Tree, format: Format, time_stamp: u32) -> Result<Vec<u8>> {
    let archive = archive(tree, time_stamp)?;
    Ok(match format {
        Format::Cpio => archive,
        Format::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&archive)?;
            encoder.finish()?
        }
        Format::Zstd => zstd::encode_all(archive.as_slice(), ZSTD_LEVEL)?,
    })
}

fn archive(tree: &Tree, time_stamp: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (number, (path, entry)) in (1_u32..).zip(tree.entries()) {
        let builder = Builder::new(path).ino(number).mode(entry.permissions).mtime(time_stamp);
        let (builder, content) = match &entry.content {
            Content::Directory => (builder.nlink(2).set_mode_file_type(ModeFileType::Directory), &[][..]),
            Content::File(content) => (builder.set_mode_file_type(ModeFileType::Regular), content.as_slice()),
            Content::Link(target) => (builder.set_mode_file_type(ModeFileType::Symlink), target.as_bytes()),
            Content::Character { major, minor } => {
                let builder = builder.rdev_major(*major).rdev_minor(*minor);
                (builder.set_mode_file_type(ModeFileType::Char), &[][..])
            }
            Content::Block { major, minor } => {
                let builder = builder.rdev_major(*major).rdev_minor(*minor);
                (builder.set_mode_file_type(ModeFileType::Block), &[][..])
            }
        };
        let length = u32::try_from(content.len()).with_context(|| format!("/{path} is too large"))?;
        let mut writer = builder.write(&mut bytes, length);
        writer.write_all(content)?;
        writer.finish()?;
    }
    Ok(trailer(bytes)?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use cpio::newc::Reader;

    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.put("dev/console", 0o600, Content::Character { major: 5, minor: 1 }).unwrap();
        tree.put_program("init", b"odd".to_vec()).unwrap();
        tree.put("bin/sh", 0o777, Content::Link("busybox".to_owned())).unwrap();
        tree
    }

    #[test]
    fn what_is_packed_is_read_back_with_mode_device_and_content() {
        let bytes = pack(&tree(), Format::Cpio, 7).unwrap();
        let (mut rest, mut seen) = (bytes.as_slice(), Vec::new());
        loop {
            let mut reader = Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = String::new();
            reader.read_to_string(&mut content).unwrap();
            let entry = reader.entry();
            assert_eq!((entry.mtime(), entry.uid(), entry.gid()), (7, 0, 0));
            seen.push(format!(
                "{} {:o} {},{} {content}",
                entry.name(),
                entry.mode(),
                entry.rdev_major(),
                entry.rdev_minor()
            ));
            rest = reader.finish().unwrap();
        }
        let expected = [
            "bin 40755 0,0 ",
            "bin/sh 120777 0,0 busybox",
            "dev 40755 0,0 ",
            "dev/console 20600 5,1 ",
            "init 100755 0,0 odd",
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn compressed_archives_hold_the_plain_one_and_are_the_same_twice() {
        let plain = pack(&tree(), Format::Cpio, 0).unwrap();
        let gzip = pack(&tree(), Format::Gzip, 0).unwrap();
        let zstd = pack(&tree(), Format::Zstd, 0).unwrap();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(gzip.as_slice()).read_to_end(&mut back).unwrap();
        assert_eq!(back, plain);
        assert_eq!(zstd::decode_all(zstd.as_slice()).unwrap(), plain);
        assert_eq!(pack(&tree(), Format::Gzip, 0).unwrap(), gzip);
        assert_eq!(pack(&tree(), Format::Zstd, 0).unwrap(), zstd);
    }
}
