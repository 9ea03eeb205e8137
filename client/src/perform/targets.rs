//! Owns `targets`: the names that are known here, and whether an agent answers at each.

use serde_json::{Value, json};

use super::{FAILED, complain, print};
use crate::invocation::{Known, Targets};
use crate::probe::{PATIENCE, Presence, probe};
use crate::text::escape;

/// Tells them; the status to exit with.
#[must_use]
pub fn targets(invocation: &Targets) -> u8 {
    let presences = presences(&invocation.known);
    let rows = invocation.known.iter().zip(&presences);
    let text = if invocation.is_json {
        format!("{}\n", rows.map(|(known, presence)| value(known, presence)).collect::<Value>())
    } else {
        table(rows)
    };
    match print(&text) {
        Ok(()) => 0,
        Err(error) => {
            complain("targets", &error);
            FAILED
        }
    }
}

/// What came of asking each of them: a pattern is nobody, and a name without an address is silent.
fn presences(known: &[Known]) -> Vec<Presence> {
    let addresses: Vec<_> = known
        .iter()
        .filter_map(|known| Some(known.target.as_ref().ok()?.as_ref()?.address.clone()))
        .collect();
    let mut answers = probe(&addresses, PATIENCE).into_iter();
    let presence = |known: &Known| match &known.target {
        Ok(Some(_)) => answers.next().unwrap_or(Presence::Unasked),
        Ok(None) => Presence::Unasked,
        Err(why) => Presence::Silent(why.clone()),
    };
    known.iter().map(presence).collect()
}

/// The address as a person would type it, or as the configuration has it.
fn address(known: &Known) -> Option<String> {
    match (&known.target, &known.written) {
        (Ok(Some(target)), _) => Some(target.address.to_string()),
        (_, written) => written.as_ref().map(|written| escape(written.as_bytes()).into_owned()),
    }
}

fn value(known: &Known, presence: &Presence) -> Value {
    let (answers, error) = match presence {
        Presence::Answers => (Some(true), None),
        Presence::Silent(why) => (Some(false), Some(why)),
        Presence::Unasked => (None, None),
    };
    json!({
        "name": known.name,
        "address": address(known),
        "agent": answers,
        "error": error,
        "source": known.source,
        "pid": known.pid,
    })
}

fn table<'k>(rows: impl Iterator<Item = (&'k Known, &'k Presence)>) -> String {
    let cells = |(known, presence): (&Known, &Presence)| {
        let answer = match presence {
            Presence::Answers => "yes",
            Presence::Silent(_) => "no",
            Presence::Unasked => "-",
        };
        let source = match known.pid {
            Some(pid) => format!("{} {pid}", known.source),
            None => known.source.to_owned(),
        };
        [known.name.clone(), answer.to_owned(), source, address(known).unwrap_or_else(|| "-".to_owned())]
    };
    let mut table = vec![["NAME", "AGENT", "SOURCE", "ADDRESS"].map(str::to_owned)];
    table.extend(rows.map(cells));
    let width = |column: usize| table.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (name, answer, source) = (width(0), width(1), width(2));
    let line = |[a, b, c, d]: &[String; 4]| format!("{a:<name$}  {b:<answer$}  {c:<source$}  {d}\n");
    table.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{DEFAULT_PORT, Target};

    fn known(name: &str, address: Option<&str>, pid: Option<u32>) -> Known {
        Known {
            name: name.to_owned(),
            source: if pid.is_some() { "qemu" } else { "configuration" },
            pid,
            written: address.map(str::to_owned),
            target: match address {
                Some(address) if name.contains('*') => {
                    assert!(!address.is_empty());
                    Ok(None)
                }
                Some(address) => Ok(Some(Target::parse(address.as_ref(), DEFAULT_PORT).unwrap())),
                None => Err("no guest".to_owned()),
            },
        }
    }

    #[test]
    fn each_name_has_a_row_and_an_object() {
        let known = [
            known("box", Some("exec:a\u{1b}b"), None),
            known("ci-*", Some("mux:/{name}"), None),
            known("db", None, None),
            known("web", Some("serial:/p"), Some(42)),
        ];
        let presences = presences(&known);
        let rows = || known.iter().zip(&presences);
        assert_eq!(
            table(rows()),
            "NAME  AGENT  SOURCE         ADDRESS\n\
             box   -      configuration  exec:a\\x1bb\n\
             ci-*  -      configuration  mux:/{name}\n\
             db    no     configuration  -\n\
             web   -      qemu 42        serial:/p\n"
        );
        let values: Vec<Value> = rows().map(|(known, presence)| value(known, presence)).collect();
        assert_eq!(
            values[2],
            json!({"name": "db", "address": null, "agent": false, "error": "no guest", "source": "configuration", "pid": null})
        );
        assert_eq!((&values[3]["pid"], &values[3]["agent"]), (&json!(42), &Value::Null));
        assert_eq!(values[1]["address"], "mux:/{name}");
    }
}
