//! Owns the search for the reason why a guest cannot be reached: what is looked at, in which order, and what is said of it.
//!
//! Each file of `doctor/` knows one thing that can be wrong: `kernel` and `context` AF_VSOCK, `device` a node of /dev, `place` the
//! path of a socket or a port, `reach` a try to connect, `answer` what the other side says then. In each what is *seen* is apart
//! from what is *judged*: a judgement is a function of values, and asks nobody. `target` puts them in order for an address,
//! `machine` for this machine.
//!
//! A check that fails ends a diagnosis where what follows would fail for the same reason. Nothing is executed in a guest; a
//! session is begun, as a command would begin one, because only that tells whether the agent gives one.

mod answer;
mod context;
mod device;
mod kernel;
mod machine;
mod place;
mod reach;
mod target;

use serde_json::{Value, json};

pub use machine::of_machine;
pub use target::of_target;

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// It is as it should be.
    Fine,
    /// It may be what is wrong, or is wrong for some purposes alone.
    Noted,
    /// It is wrong.
    Failed,
}

/// One check. Its words are safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word.
    pub check: &'static str,
    /// What came of it.
    pub result: Result,
    /// What was seen, a phrase without a full stop.
    pub seen: String,
    /// What to do about it; one that is fine needs nothing.
    pub advice: Option<String>,
}

/// All checks that were made, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis(Vec<Finding>);

impl Finding {
    fn fine(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, result: Result::Fine, seen: seen.into(), advice: None }
    }

    fn noted(check: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, result: Result::Noted, seen: seen.into(), advice: Some(advice.into()) }
    }

    fn failed(check: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { result: Result::Failed, ..Self::noted(check, seen, advice) }
    }

    /// The same where it concerns some guests alone.
    fn softened(self) -> Self {
        if self.result == Result::Failed { Self { result: Result::Noted, ..self } } else { self }
    }

    fn has_failed(&self) -> bool {
        self.result == Result::Failed
    }
}

impl Result {
    /// The word for it, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Noted => "note",
            Self::Failed => "fail",
        }
    }

    /// The same at the beginning of a line, where what has failed shall be seen at once.
    const fn mark(self) -> &'static str {
        match self {
            Self::Fine => "ok  ",
            Self::Noted => "note",
            Self::Failed => "FAIL",
        }
    }
}

impl Diagnosis {
    /// Adds a check; whether those that follow make sense.
    fn add(&mut self, finding: Finding) -> bool {
        let goes_on = !finding.has_failed();
        self.0.push(finding);
        goes_on
    }

    /// Nothing has failed.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        !self.0.iter().any(Finding::has_failed)
    }

    /// The checks.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }

    /// A line for each check, and one below it that says what to do.
    #[must_use]
    pub fn to_text(&self) -> String {
        let advice = |advice: &String| format!("       {advice}\n");
        let lines = |finding: &Finding| {
            let Finding { check, result, seen, .. } = finding;
            let advice = finding.advice.as_ref().map(advice).unwrap_or_default();
            format!("{} {check}: {seen}\n{advice}", result.mark())
        };
        self.0.iter().map(lines).collect()
    }

    /// One object: `ok`, `target` (`null` for the machine), and `checks`, each of which has `check`, `result` (`ok`, `note`,
    /// `fail`), `seen` and `advice`.
    #[must_use]
    pub fn to_value(&self, target: Option<&str>) -> Value {
        let check = |finding: &Finding| {
            let Finding { check, result, seen, advice } = finding;
            json!({"check": check, "result": result.word(), "seen": seen, "advice": advice})
        };
        json!({"ok": self.is_fine(), "target": target, "checks": self.0.iter().map(check).collect::<Value>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis() -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        assert!(diagnosis.add(Finding::fine("kernel", "has it")));
        assert!(diagnosis.add(Finding::noted("guest", "is not seen", "look elsewhere")));
        assert!(!diagnosis.add(Finding::failed("reach", "refused", "start it")));
        diagnosis
    }

    #[test]
    fn a_check_is_a_line_and_its_advice_one_below_it() {
        assert_eq!(
            diagnosis().to_text(),
            "ok   kernel: has it\n\
             note guest: is not seen\n       look elsewhere\n\
             FAIL reach: refused\n       start it\n"
        );
    }

    #[test]
    fn for_programs_it_is_an_object() {
        assert_eq!(
            diagnosis().to_value(Some("unix:/a")),
            json!({"ok": false, "target": "unix:/a", "checks": [
                {"check": "kernel", "result": "ok", "seen": "has it", "advice": null},
                {"check": "guest", "result": "note", "seen": "is not seen", "advice": "look elsewhere"},
                {"check": "reach", "result": "fail", "seen": "refused", "advice": "start it"},
            ]})
        );
        assert_eq!(Diagnosis::default().to_value(None), json!({"ok": true, "target": null, "checks": []}));
    }

    #[test]
    fn a_note_fails_nothing_and_what_is_softened_is_one() {
        let mut softened = Diagnosis::default();
        assert!(softened.add(Finding::failed("a", "b", "c").softened()));
        assert!(softened.is_fine() && !diagnosis().is_fine());
        assert_eq!(Finding::fine("a", "b").softened(), Finding::fine("a", "b"));
    }
}
