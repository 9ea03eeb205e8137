//! Owns what /proc/modules tells, proc_modules(5), and how it is shown. Pure.

use serde_json::{Value, json};

use crate::text::escape;

/// A module of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, escaped.
    pub name: String,
    /// Bytes that it takes.
    pub bytes: u64,
    /// How often it is used; `None` where it cannot be unloaded.
    pub uses: Option<u64>,
    /// Modules that use it, escaped.
    pub used_by: Vec<String>,
    /// `Live`, `Loading` or `Unloading`, escaped.
    pub state: String,
}

/// Reads the file; lines that are none are left out.
#[must_use]
pub fn parse(file: &[u8]) -> Vec<Module> {
    file.split(|&byte| byte == b'\n').filter_map(module).collect()
}

fn module(line: &[u8]) -> Option<Module> {
    let line = escape(line).into_owned();
    let mut fields = line.split(' ').filter(|field| !field.is_empty());
    let name = fields.next()?.to_owned();
    let bytes = fields.next()?.parse().ok()?;
    let uses = fields.next()?.parse().ok();
    let users = fields.next()?;
    let used_by =
        users.split(',').filter(|user| !user.is_empty() && *user != "-").map(str::to_owned).collect();
    Some(Module { name, bytes, uses, used_by, state: fields.next()?.to_owned() })
}

/// Lines for people, with a heading, in the order of the kernel.
#[must_use]
pub fn table(modules: &[Module]) -> String {
    let width = modules.iter().map(|module| module.name.len()).max().unwrap_or(0).max("MODULE".len());
    let mut table = format!("{:width$} {:>10} {:>4}  USED BY\n", "MODULE", "BYTES", "USES");
    for module in modules {
        let uses = module.uses.map_or_else(|| "-".to_owned(), |uses| uses.to_string());
        let state = if module.state == "Live" { String::new() } else { format!(" ({})", module.state) };
        let line = format!(
            "{:width$} {:>10} {uses:>4}  {}{state}",
            module.name,
            module.bytes,
            module.used_by.join(" ")
        );
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// All of them as objects.
#[must_use]
pub fn to_value(modules: &[Module]) -> Value {
    let value = |module: &Module| {
        json!({
            "name": module.name,
            "bytes": module.bytes,
            "uses": module.uses,
            "used_by": module.used_by,
            "state": module.state,
        })
    };
    modules.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"vsock 61440 2 vmw_vsock,vhost_\x1b, Live 0xffffffffc0a00000\n\
        fixed 4096 - - Unloading 0x0000000000000000\nbroken\nnext 1 0 - Live 0x0 (OE)\n";

    #[test]
    fn modules_make_a_table_and_objects() {
        let modules = parse(FILE);
        assert_eq!(
            table(&modules),
            "MODULE      BYTES USES  USED BY\nvsock       61440    2  vmw_vsock vhost_\\x1b\n\
             fixed        4096    -   (Unloading)\nnext            1    0\n"
        );
        let value = to_value(&modules);
        assert_eq!((&value[0]["used_by"][1], &value[1]["uses"]), (&"vhost_\\x1b".into(), &Value::Null));
        assert_eq!(parse(b""), []);
    }
}
