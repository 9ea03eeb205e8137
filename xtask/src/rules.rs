//! `cargo xtask rules`: every rule of the protocol that a peer could break has a case that breaks it.
//!
//! The rules are those of `docs/PROTOCOL.md`. A case is a test `r_6_2_…`, or the words `"R-6.2: …"` in a table of one, in the
//! files of [`KITS`], which speak to the real binaries. What a side cannot break stands in `rules.txt`, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace;

const UNBREAKABLE: &str = include_str!("rules.txt");

/// What speaks wrongly as which side: files, and folders of them, in `client/tests`.
const KITS: [(Side, &[&str]); 2] = [
    (Side::Client, &["hostile_client", "guest/mistakes.rs", "suite/deny.rs"]),
    (Side::Agent, &["hostile_agent", "guest/mistakes.rs", "hostile_trees.rs", "suite/tree_lists.rs"]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Client,
    Agent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rule(u32, u32);

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R-{}.{}", self.0, self.1)
    }
}

type Rules = BTreeSet<(Rule, Side)>;

/// `cargo xtask rules`.
pub fn main() -> Result<()> {
    let root = workspace::root();
    let document = fs::read_to_string(root.join("docs/PROTOCOL.md"))?;
    let mut cases = Rules::new();
    for (side, places) in KITS {
        for place in places {
            let path = root.join("client/tests").join(place);
            let sources = sources(&path).with_context(|| path.display().to_string())?;
            cases.extend(sources.iter().flat_map(|source| cases_in(source)).map(|rule| (rule, side)));
        }
    }
    let unbreakable = exceptions(UNBREAKABLE)?;
    let problems = problems(&rules_of(&document), &cases, &unbreakable);
    if !problems.is_empty() {
        bail!("the protocol and the tests that break it differ:\n  {}", problems.join("\n  "));
    }
    let (cases, exceptions) = (cases.len(), unbreakable.len());
    println!(
        "{cases} rules are broken by a client or an agent; {exceptions} cannot be (xtask/src/rules.txt)"
    );
    Ok(())
}

/// A file, or all those in a folder.
fn sources(path: &Path) -> Result<Vec<String>> {
    if path.is_file() {
        return Ok(vec![fs::read_to_string(path)?]);
    }
    fs::read_dir(path)?.map(|entry| Ok(fs::read_to_string(entry?.path())?)).collect()
}

/// The rules that stand at the beginnings of lines.
fn rules_of(document: &str) -> BTreeSet<Rule> {
    document.lines().filter_map(|line| rule(line.strip_prefix("**R-")?, '.', "**")).collect()
}

/// `6.2` before `end`, with this point.
fn rule(text: &str, point: char, end: &str) -> Option<Rule> {
    let (number, _) = text.split_once(end)?;
    let (section, number) = number.split_once(point)?;
    Some(Rule(section.parse().ok()?, number.parse().ok()?))
}

/// The rules that a source has cases of.
fn cases_in(source: &str) -> BTreeSet<Rule> {
    let mut cases = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        if let Some(name) = line.strip_prefix("fn r_").filter(|_| is_test) {
            let end = name.match_indices('_').nth(1).map_or(name.len(), |(at, _)| at);
            cases.extend(name.get(..end).and_then(|name| rule(&format!("{name} "), '_', " ")));
        }
        is_test = line == "#[test]" || (is_test && line.starts_with("#["));
        cases.extend(line.split("\"R-").skip(1).filter_map(|words| rule(words, '.', ": ")));
    }
    cases
}

/// What cannot be broken: a rule, who cannot, and why.
fn exceptions(text: &str) -> Result<Rules> {
    let mut exceptions = Rules::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (name, who) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let rule = name.strip_prefix("R-").and_then(|name| rule(&format!("{name} "), '.', " "));
        let sides: &[Side] = match who {
            "client" => &[Side::Client],
            "agent" => &[Side::Agent],
            "both" => &[Side::Client, Side::Agent],
            _ => &[],
        };
        let (Some(rule), false, Some(_)) = (rule, sides.is_empty(), words.next()) else {
            bail!("rules.txt: a rule, `client`, `agent` or `both`, and why, not {line:?}");
        };
        for &side in sides {
            if !exceptions.insert((rule, side)) {
                bail!("rules.txt: {rule} twice");
            }
        }
    }
    Ok(exceptions)
}

/// What is missing, and what is too much.
fn problems(rules: &BTreeSet<Rule>, cases: &Rules, unbreakable: &Rules) -> Vec<String> {
    let mut problems = BTreeMap::new();
    for &rule in rules {
        for side in [Side::Client, Side::Agent] {
            let who = if side == Side::Client { "client" } else { "agent" };
            let problem = match (cases.contains(&(rule, side)), unbreakable.contains(&(rule, side))) {
                (false, false) => "breaks it in a test",
                (true, true) => "can break it, says rules.txt, but a test does",
                _ => continue,
            };
            problems.insert((rule, side), format!("{rule}: no {who} {problem}"));
        }
    }
    for (what, named) in [("a case", cases), ("rules.txt", unbreakable)] {
        for &(rule, side) in named.iter().filter(|(rule, _)| !rules.contains(rule)) {
            problems.insert((rule, side), format!("{rule}: there is no such rule, but {what} names it"));
        }
    }
    problems.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str =
        "**R-1.1** One.\nR-1.9 of another text.\n**R-1.2** Two (R-1.1).\n**R-10.11** Three.\n";

    fn found(client: &str, agent: &str, unbreakable: &str) -> Vec<String> {
        let of = |source, side| cases_in(source).into_iter().map(move |rule| (rule, side));
        let cases = of(client, Side::Client).chain(of(agent, Side::Agent)).collect();
        problems(&rules_of(DOCUMENT), &cases, &exceptions(unbreakable).unwrap())
    }

    #[test]
    fn a_rule_without_a_case_is_found() {
        let client = "#[test]\nfn r_1_1_it_is_so() {\n    (\"R-10.11: so\", 1),\n";
        let agent = "#[test]\n#[ignore]\n    fn r_10_11_it_is_so() {}\n";
        assert_eq!(found(client, agent, "R-1.1 agent why\nR-1.2 both why\n"), [""; 0]);
        assert_eq!(
            found(client, agent, "# R-1.1 agent why\n\nR-1.2 client why\n"),
            ["R-1.1: no agent breaks it in a test", "R-1.2: no agent breaks it in a test"]
        );
    }

    #[test]
    fn what_only_looks_like_a_case_is_none() {
        for source in [
            "fn r_1_1_no_test() {}",
            "#[test]\nfn other() {}\nfn r_1_1_behind() {}",
            "// \"R-1.1: in a comment\"",
            "let words = \"as R-1.1: says\";",
            "\"R-1.1\"",
        ] {
            assert!(cases_in(source).is_empty(), "{source}");
        }
    }

    #[test]
    fn a_name_that_no_rule_has_is_found() {
        let all = "R-1.1 both why\nR-1.2 both why\nR-10.11 both why\n";
        assert_eq!(
            found("#[test]\nfn r_1_3_x() {}", "(\"R-1.2: x\"", &format!("{all}R-2.1 agent why\n")),
            [
                "R-1.2: no agent can break it, says rules.txt, but a test does",
                "R-1.3: there is no such rule, but a case names it",
                "R-2.1: there is no such rule, but rules.txt names it",
            ]
        );
    }

    #[test]
    fn an_exception_has_a_side_and_a_reason() {
        for line in
            ["R-1.1", "R-1.1 both", "R-1.1 nobody why", "1.1 both why", "R-1.1 both why\nR-1.1 agent why"]
        {
            assert!(exceptions(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_document_has_rules_and_the_exceptions_can_be_read() {
        let document = fs::read_to_string(workspace::root().join("docs/PROTOCOL.md")).unwrap();
        assert!(rules_of(&document).len() > 80);
        exceptions(UNBREAKABLE).unwrap();
    }
}
