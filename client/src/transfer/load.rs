//! Owns bringing a program of this side into a guest's memory, where the agent executes it: nothing touches the guest's disk.
//!
//! What cannot run there is found out before: a program for another machine, one whose interpreter (`ld.so(8)`) the guest has
//! not, or a script.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use elf::ElfStream;
use elf::endian::AnyEndian;
use vsock_shell_proto::fields::{flag, tag};

use super::compare::Plan;
use super::report::Report;
use super::send::Manner;
use super::source::Origin;
use crate::client::Client;
use crate::error::Error;
use crate::request::Request;
use crate::signals::Signals;

/// A program in the memory of a guest.
#[derive(Debug, Clone, Copy)]
pub struct Loaded(pub(crate) u32);

/// What `uname -m` says, and the machines whose programs run there (`e_machine` of `elf(5)`).
const MACHINES: [(&str, &[u16]); 9] = [
    ("x86_64", &[elf::abi::EM_X86_64, elf::abi::EM_386]),
    ("i686", &[elf::abi::EM_386]),
    ("aarch64", &[elf::abi::EM_AARCH64, elf::abi::EM_ARM]),
    ("armv7l", &[elf::abi::EM_ARM]),
    ("riscv64", &[elf::abi::EM_RISCV]),
    ("ppc64le", &[elf::abi::EM_PPC64]),
    ("s390x", &[elf::abi::EM_S390]),
    ("mips64", &[elf::abi::EM_MIPS]),
    ("loongarch64", &[elf::abi::EM_LOONGARCH]),
];

/// What is in the header of a program.
struct Header {
    machine: u16,
    /// The path of its interpreter, where it has one.
    interpreter: Option<Vec<u8>>,
}

impl Client {
    /// Brings a program into the guest's memory.
    ///
    /// # Errors
    /// It cannot run there ([`Error::NoProgram`]), or could not be sent.
    pub fn load(&mut self, path: &Path, signals: &mut Signals, is_quiet: bool) -> Result<Loaded, Error> {
        let shown = || crate::text::escape(path.as_os_str().as_bytes()).into_owned();
        let wrong = |why: String| Error::NoProgram(shown(), why);
        let header = header_of(path)?.map_err(wrong)?;
        let info = self.info()?;
        let machine = info.get("machine").unwrap_or_default();
        if let Some((_, fits)) = MACHINES.iter().find(|(name, _)| *name == machine)
            && !fits.contains(&header.machine)
        {
            let its = MACHINES.iter().find(|(_, machines)| machines.first() == Some(&header.machine));
            let its =
                its.map_or_else(|| format!("machine {}", header.machine), |(name, _)| (*name).to_owned());
            return Err(wrong(format!("it is for {its}, and the guest is {machine}")));
        }
        if let Some(interpreter) = &header.interpreter
            && self.stat(OsStr::from_bytes(interpreter), Some(signals))?.is_none()
        {
            return Err(wrong(format!(
                "it needs {}, which the guest has not; link it statically",
                crate::text::escape(interpreter)
            )));
        }
        let mut request = Request::default();
        request.bytes(tag::FLAGS, &flag::MEMORY.to_le_bytes())?;
        let origin = Origin::open(path, false, false, &[])?;
        let mut report = Report::new(is_quiet);
        report.begin(path.as_os_str(), origin.size(), true);
        let plan = Plan::default();
        let manner = Manner { preserves: false, has_holes: false, remembers: false, plan: &plan };
        let request = request.into_bytes();
        let (number, _) = self.send(request, origin, &manner, Some(signals), &mut report)?;
        // The line of progress would stand between the command and its output.
        report.clear();
        Ok(Loaded(u32::try_from(number).unwrap_or(0)))
    }
}

/// Reads the header; or why it is no program that could be executed from memory.
fn header_of(path: &Path) -> Result<Result<Header, String>, Error> {
    let mut file = File::open(path).map_err(Error::local("open", path))?;
    let mut magic = [0; 2];
    let is_script = file.read_exact(&mut magic).is_ok() && magic == *b"#!";
    if is_script {
        return Ok(Err(
            "it is a script; run its interpreter, and give it the script as standard input".to_owned()
        ));
    }
    Ok(parse(file).ok_or_else(|| "it is no ELF program".to_owned()))
}

fn parse(file: File) -> Option<Header> {
    let mut stream = ElfStream::<AnyEndian, _>::open_stream(file).ok()?;
    if !matches!(stream.ehdr.e_type, elf::abi::ET_EXEC | elf::abi::ET_DYN) {
        return None;
    }
    let machine = stream.ehdr.e_machine;
    let segment = stream.segments().iter().find(|segment| segment.p_type == elf::abi::PT_INTERP).copied();
    let interpreter = match segment {
        Some(segment) => {
            let data = stream.segment_data(&segment).ok()?;
            Some(data.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
        }
        None => None,
    };
    Some(Header { machine, interpreter })
}
