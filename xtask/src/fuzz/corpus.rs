//! The committed corpus: of all inputs that are known, those few that reach the most.
//!
//! libFuzzer tells what each input reaches when it merges corpora, in the control file of the merge: a list of the inputs, and
//! for each a line `FT`, its number in the list, and its features, which without counters are edges and values compared.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{Fuzzer, folder};
use crate::scratch::Scratch;

/// Inputs of a target.
const KEPT_MAX: usize = 100;

impl Fuzzer {
    /// Makes the committed corpus of a target anew.
    pub(super) fn keep(&self, target: &str) -> Result<()> {
        let fresh = Scratch::new(&self.work, "kept")?;
        let (merged, control) = (fresh.path("corpus"), fresh.path("control"));
        fs::create_dir(&merged)?;
        let (corpus, known) = (self.corpus(target), folder().join("corpus").join(target));
        let options = [
            "-set_cover_merge=1".to_owned(),
            "-use_counters=0".to_owned(),
            format!("-merge_control_file={}", control.display()),
        ];
        let log = self.work.join(format!("{target}.log"));
        let status = self.run(target, &[&merged, &known, &corpus], &options, &log)?;
        ensure!(status.success(), "the corpus of {target} cannot be merged; see {}", log.display());
        let (kept, reached, all) = choose(&fs::read_to_string(control)?)?;
        let inputs = kept.iter().map(|path| Ok((path, fs::read(path)?))).collect::<Result<Vec<_>>>()?;
        fs::remove_dir_all(&known)?;
        fs::create_dir(&known)?;
        for (path, input) in &inputs {
            // Seeds have names of their own until they are kept.
            let digest = xxhash_rust::xxh3::xxh3_64(input);
            fs::write(known.join(format!("{digest:016x}")), input)
                .with_context(|| format!("cannot keep {}", path.display()))?;
        }
        println!("{target:16} {} inputs kept, which reach {reached} of {all}", inputs.len());
        Ok(())
    }
}

/// The inputs to keep, how much they reach, and how much all do: each time the one that adds the most.
fn choose(control: &str) -> Result<(Vec<PathBuf>, usize, usize)> {
    let mut lines = control.lines();
    let count: usize = lines.next().and_then(|line| line.parse().ok()).context("no list of inputs")?;
    let paths: Vec<PathBuf> = lines.by_ref().skip(1).take(count).map(PathBuf::from).collect();
    let mut left: Vec<(&PathBuf, HashSet<u64>)> = lines
        .filter_map(|line| {
            let mut numbers = line.strip_prefix("FT ")?.split(' ').map(str::parse);
            let path = paths.get(usize::try_from(numbers.next()?.ok()?).ok()?)?;
            Some((path, numbers.flatten().collect()))
        })
        .collect();
    let all = left.iter().flat_map(|(_, features)| features).collect::<HashSet<_>>().len();
    let (mut kept, mut reached) = (Vec::new(), 0);
    while kept.len() < KEPT_MAX {
        left.retain(|(_, features)| !features.is_empty());
        let most = left.iter().enumerate().max_by_key(|(_, (_, features))| features.len());
        let Some((path, features)) = most.map(|(at, _)| at).map(|at| left.swap_remove(at)) else { break };
        for (_, others) in &mut left {
            others.retain(|feature| !features.contains(feature));
        }
        reached += features.len();
        kept.push(path.clone());
    }
    Ok((kept, reached, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_add_the_most_are_kept() {
        let control =
            "3\n0\na\nb\nc\nSTARTED 0 9\nFT 0 1 2\nCOV 0 7\nSTARTED 1 9\nFT 1 1 2 3\nSTARTED 2 9\nFT 2 4 3\n";
        let (kept, reached, all) = choose(control).unwrap();
        assert_eq!((kept, reached, all), (vec!["b".into(), "c".into()], 4, 4));
    }
}
