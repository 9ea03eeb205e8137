//! `cargo xtask size`: what the agent weighs, where the bytes are, and the gate that CI puts before it.
//!
//! The gate looks at the file that is shipped: its length, and whether a guest that holds nothing else can start it (no
//! interpreter, no needed library). The symbols come from a second link of the same code, since the shipped file has none;
//! they also tell whether something of libc came along that needs libc's start code, which the agent does not have.

use std::ffi::OsString;
use std::fs;

use anyhow::{Context, Result, bail};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind, elf};

use crate::arch::Arch;
use crate::{build, features, workspace};

/// What the agent may have now. `docs/decisions.md` says what it was and what it became.
pub const LIMIT_BYTES: u64 = 184_320;

/// What libc's functions want set up: memory of the thread, the auxiliary vector. Code that reaches it would crash.
const NEED_START_CODE: [&str; 3] = ["__errno_location", "__libc", "getauxval"];

/// How many symbols are worth a line.
const SYMBOLS: usize = 20;

type Elf = elf::FileHeader64<object::Endianness>;

/// A name and the bytes it stands for.
pub type Weight = (String, u64);

/// `cargo xtask size [--json]`.
pub fn main(arguments: Vec<OsString>) -> Result<()> {
    let json = match arguments.as_slice() {
        [] => false,
        [option] if option == "--json" => true,
        _ => bail!("usage: cargo xtask size [--json]"),
    };
    build::agent_for(Arch::host()?)?;
    let shipped = fs::read(workspace::agent()).context("the agent was built but cannot be read")?;
    let with_symbols = fs::read(build::agent_with_symbols()?)?;

    let sections = sections(&shipped)?;
    let symbols = symbols(&with_symbols)?;
    let features = features::weigh(&with_symbols)?;
    let mut faults = faults(&shipped)?;
    faults.extend(defined(&with_symbols, &NEED_START_CODE)?);
    if json {
        print_json(shipped.len(), &[&sections, &features, &symbols], &faults);
    } else {
        print_text(shipped.len(), &[&sections, &features, &symbols]);
    }
    match faults.as_slice() {
        [] => Ok(()),
        _ => bail!("{}", faults.join("; ")),
    }
}

/// What keeps the file from being shipped, a sentence each.
pub fn faults(file: &[u8]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    if file.len() as u64 > LIMIT_BYTES {
        faults.push(format!("the agent has {} bytes, {LIMIT_BYTES} are allowed", file.len()));
    }
    let header = Elf::parse(file).context("the agent is not a 64-bit ELF file")?;
    let endian = header.endian()?;
    let kind = header.e_type(endian);
    if kind != elf::ET_EXEC && kind != elf::ET_DYN {
        faults.push(format!("the agent's ELF type is {kind}, neither ET_EXEC nor a static PIE"));
    }
    faults.extend(needs(file)?.into_iter().map(|need| format!("the agent {need}")));
    Ok(faults)
}

/// Whether a program can be started where there is nothing else.
pub fn is_static(file: &[u8]) -> Result<bool> {
    Ok(needs(file)?.is_empty())
}

/// What a program of any width wants beside itself.
fn needs(file: &[u8]) -> Result<Vec<String>> {
    match object::FileKind::parse(file)? {
        object::FileKind::Elf32 => needs_of::<elf::FileHeader32<object::Endianness>>(file),
        _ => needs_of::<Elf>(file),
    }
}

fn needs_of<E: FileHeader<Endian = object::Endianness>>(file: &[u8]) -> Result<Vec<String>> {
    let header = E::parse(file).context("not an ELF file")?;
    let endian = header.endian()?;
    let mut needs = Vec::new();
    for segment in header.program_headers(endian, file)? {
        if segment.p_type(endian) == elf::PT_INTERP {
            let interpreter = segment.data(endian, file).unwrap_or_default();
            let interpreter = String::from_utf8_lossy(interpreter);
            needs.push(format!("wants an interpreter: {}", interpreter.trim_end_matches('\0')));
        }
        let libraries = segment.dynamic(endian, file)?.unwrap_or_default();
        let count = libraries.iter().filter(|entry| entry.tag32(endian) == Some(elf::DT_NEEDED)).count();
        if count > 0 {
            needs.push(format!("needs {count} shared libraries"));
        }
    }
    Ok(needs)
}

/// Those of `unwanted` that the file defines, a sentence each.
fn defined(file: &[u8], unwanted: &[&str]) -> Result<Vec<String>> {
    let parsed = object::File::parse(file)?;
    let names =
        parsed.symbols().filter(|symbol| symbol.is_definition()).filter_map(|symbol| symbol.name().ok());
    let wrong = names.filter(|name| unwanted.contains(name));
    Ok(wrong.map(|name| format!("the agent does not start libc, and something in it uses {name}")).collect())
}

/// Sections in the order of the file, those that take neither file nor memory left out.
fn sections(file: &[u8]) -> Result<Vec<Weight>> {
    let parsed = object::File::parse(file)?;
    let sections =
        parsed.sections().filter(|section| section.size() > 0 && section.kind() != SectionKind::Metadata);
    Ok(sections.map(|section| (section.name().unwrap_or("?").to_owned(), section.size())).collect())
}

/// The largest functions and statics that take room in the file.
fn symbols(file: &[u8]) -> Result<Vec<Weight>> {
    let parsed = object::File::parse(file)?;
    let in_file = |symbol: &object::Symbol<'_, '_>| {
        let section = symbol.section_index().and_then(|index| parsed.section_by_index(index).ok());
        section.is_some_and(|section| section.kind() != SectionKind::UninitializedData)
    };
    let mut symbols: Vec<Weight> = parsed
        .symbols()
        .filter(|symbol| matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data) && symbol.size() > 0)
        .filter(in_file)
        .map(|symbol| {
            (format!("{:#}", rustc_demangle::demangle(symbol.name().unwrap_or("?"))), symbol.size())
        })
        .collect();
    symbols.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    symbols.dedup();
    symbols.truncate(SYMBOLS);
    Ok(symbols)
}

/// What the lists are called, on the terminal and in JSON.
const LISTS: [(&str, &str); 3] =
    [("sections", "sections"), ("features", "features"), ("largest symbols in the file", "symbols")];

fn print_text(file_bytes: usize, lists: &[&[Weight]; 3]) {
    println!("{file_bytes:>8}  the file, of {LIMIT_BYTES} allowed");
    for ((title, _), list) in LISTS.iter().zip(lists) {
        println!("\n{title}");
        for (name, size) in *list {
            println!("{size:>8}  {name}");
        }
    }
}

fn print_json(file_bytes: usize, lists: &[&[Weight]; 3], faults: &[String]) {
    let mut report =
        serde_json::json!({ "file_bytes": file_bytes, "limit_bytes": LIMIT_BYTES, "faults": faults });
    for ((_, key), list) in LISTS.iter().zip(lists) {
        let named = |(name, bytes): &Weight| serde_json::json!({ "name": name, "bytes": bytes });
        report[key] = list.iter().map(named).collect();
    }
    println!("{report:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_over_the_limit_is_refused_with_every_reason() {
        let ourselves = fs::read(std::env::current_exe().unwrap()).unwrap();
        let faults = faults(&ourselves).unwrap().join("\n");
        for reason in ["are allowed", "wants an interpreter: /", "shared libraries"] {
            assert!(faults.contains(reason), "{faults}");
        }
    }

    #[test]
    fn a_function_that_needs_start_code_is_refused_where_it_is_defined() {
        let ourselves = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(defined(&ourselves, &["main"]).unwrap()[0].ends_with("uses main"));
        assert_eq!(defined(&ourselves, &["__errno_location", "nobody_has_this"]).unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_no_elf_file_is_an_error() {
        assert!(faults(b"#!/bin/sh\n").is_err());
    }
}
