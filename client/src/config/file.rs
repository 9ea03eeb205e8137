//! Reading one file of the configuration: its entries in their order, and where each key is, for messages.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{ConfigError, Entry, Setting, Vocabulary, shown};
use crate::name;
use crate::suggest::nearest;
use crate::target::{DEFAULT_PORT, Target};
use crate::text::escape;

/// The one table of a file.
const TARGETS: &str = "targets";
const ADDRESS: &str = "address";

/// What stands for the target, is about one file or about several guests, or ends at once: nothing to be said once and for all.
const NEVER: [&str; 6] = ["listen", "parallel", "upload", "download", "help", "version"];

/// Options whose values are paths of this side, where `~/` is our home.
const PATHS: [&str; 2] = ["key", "with"];

/// One file.
struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    home: Option<&'a Path>,
    vocabulary: Vocabulary<'a>,
}

/// Reads the text of a file.
///
/// # Errors
/// It is not TOML, or what it says has no meaning.
pub(super) fn read(
    file: &Path,
    text: &str,
    home: Option<&Path>,
    vocabulary: Vocabulary<'_>,
) -> Result<Vec<Entry>, ConfigError> {
    Reader { file, text, home, vocabulary }.read()
}

impl Reader<'_> {
    fn read(&self) -> Result<Vec<Entry>, ConfigError> {
        let document = DeTable::parse(self.text).map_err(|error| {
            let why: Vec<&str> = error.message().lines().collect();
            self.wrong(&error.span().unwrap_or_default(), &format!("this is not TOML: {}", why.join("; ")))
        })?;
        let mut entries = Vec::new();
        for (key, value) in document.get_ref() {
            if key.get_ref() != TARGETS {
                let text = "is nothing that a configuration has; write [targets.NAME]";
                return Err(self.wrong(&key.span(), &format!("`{}` {text}", key.get_ref())));
            }
            let DeValue::Table(targets) = value.get_ref() else {
                return Err(self.wrong(&value.span(), "`targets` is a table; write [targets.NAME]"));
            };
            for (name, entry) in targets {
                entries.push((name.span().start, self.entry(name.get_ref(), &name.span(), entry.get_ref())?));
            }
        }
        // The library sorts keys by their letters.
        entries.sort_by_key(|(at, _)| *at);
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    fn entry(&self, name: &str, at: &Range<usize>, value: &DeValue<'_>) -> Result<Entry, ConfigError> {
        let checked = if name::is_pattern(name) {
            name::check_pattern(name)
        } else {
            name::check(name, self.vocabulary.verbs)
        };
        checked.map_err(|error| self.wrong(at, &format!("cannot use the name `{name}`: {error}")))?;
        let DeValue::Table(table) = value else {
            return Err(self.wrong(at, &format!("targets.{name} is a table; write [targets.{name}]")));
        };
        let mut entry =
            Entry { name: name.to_owned(), address: None, options: Vec::new(), place: self.place(at) };
        let mut settings = Vec::new();
        for (key, value) in table {
            let path = format!("targets.{name}.{}", key.get_ref());
            if key.get_ref() == ADDRESS {
                entry.address = Some(self.address(name, &path, &value.span(), value.get_ref())?);
                continue;
            }
            self.check_option(key.get_ref(), &path, &key.span())?;
            for value in self.values(&path, &value.span(), value.get_ref())? {
                let word = self.word(key.get_ref(), value);
                let place = self.place(&key.span());
                settings.push((key.span().start, Setting { name: key.get_ref().to_string(), word, place }));
            }
        }
        settings.sort_by_key(|(at, _)| *at);
        entry.options = settings.into_iter().map(|(_, setting)| setting).collect();
        self.check_user(&entry, at)?;
        Ok(entry)
    }

    fn address(
        &self,
        name: &str,
        path: &str,
        at: &Range<usize>,
        value: &DeValue<'_>,
    ) -> Result<String, ConfigError> {
        let DeValue::String(text) = value else {
            return Err(self.wrong(at, &format!("{path} is a string, such as \"vsock:3\"")));
        };
        let address = self.at_home(text);
        let example = address.replace("{name}", if name::is_pattern(name) { "x" } else { name });
        match Target::parse(example.as_ref(), DEFAULT_PORT) {
            Ok(_) => Ok(address),
            Err(error) => Err(self.wrong(at, &format!("{path}: cannot use `{text}`: {error}"))),
        }
    }

    /// An address whose path begins with `~/`, as the path that it is. In a command a shell sees to that.
    fn at_home(&self, text: &str) -> String {
        match (text.split_once(":~/"), self.home) {
            (Some((start, rest)), Some(home))
                if start != "exec" && Target::is_scheme_alone(start.as_ref()) =>
            {
                format!("{start}:{}/{rest}", home.display())
            }
            _ => text.to_owned(),
        }
    }

    fn check_option(&self, key: &str, path: &str, at: &Range<usize>) -> Result<(), ConfigError> {
        if NEVER.contains(&key) {
            return Err(self.wrong(at, &format!("{path}: --{key} cannot stand in a configuration")));
        }
        if self.vocabulary.options.contains(&key) {
            return Ok(());
        }
        let known = self.vocabulary.options.iter().copied().filter(|name| !NEVER.contains(name));
        let hint = match nearest(key, known.chain([ADDRESS])) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a key is `address`, or a long option without its hyphens".to_owned(),
        };
        Err(self.wrong(at, &format!("{path}: there is no option --{key}; {hint}")))
    }

    /// The values of an option: several for a list; `None` for an option that takes none.
    fn values(
        &self,
        path: &str,
        at: &Range<usize>,
        value: &DeValue<'_>,
    ) -> Result<Vec<Option<String>>, ConfigError> {
        let mut values = Vec::new();
        match value {
            DeValue::String(text) => values.push(Some(text.to_string())),
            DeValue::Integer(number) if number.radix() == 10 => {
                values.push(Some(number.as_str().to_owned()));
            }
            DeValue::Float(number) => values.push(Some(number.as_str().to_owned())),
            DeValue::Boolean(true) => values.push(None),
            DeValue::Boolean(false) => {}
            DeValue::Array(list) => {
                for value in list {
                    if matches!(value.get_ref(), DeValue::Array(_)) {
                        return Err(self.wrong(&value.span(), &format!("{path}: a list holds no lists")));
                    }
                    values.extend(self.values(path, &value.span(), value.get_ref())?);
                }
            }
            DeValue::Table(table) => {
                for (name, value) in table {
                    let DeValue::String(text) = value.get_ref() else {
                        return Err(self.wrong(&value.span(), &format!("{path}: a value here is a string")));
                    };
                    values.push(Some(format!("{}={text}", name.get_ref())));
                }
            }
            DeValue::Integer(_) | DeValue::Datetime(_) => {
                let text = format!("{path} is a string, a decimal number, true or false, or a list of them");
                return Err(self.wrong(at, &text));
            }
        }
        Ok(values)
    }

    fn word(&self, key: &str, value: Option<String>) -> OsString {
        let mut word = OsString::from(format!("--{key}"));
        let Some(value) = value else { return word };
        word.push("=");
        match (value.strip_prefix("~/"), self.home) {
            (Some(rest), Some(home)) if PATHS.contains(&key) => word.push(home.join(rest)),
            _ => word.push(value),
        }
        word
    }

    /// One place names the user.
    fn check_user(&self, entry: &Entry, at: &Range<usize>) -> Result<(), ConfigError> {
        let is_in_address = entry.address_of("x").is_some_and(|address| {
            Target::parse(address.as_ref(), DEFAULT_PORT).is_ok_and(|target| target.user.is_some())
        });
        if is_in_address && entry.options.iter().any(|setting| setting.name == "user") {
            let text = format!("targets.{} names the user twice, in `address` and in `user`", entry.name);
            return Err(self.wrong(at, &text));
        }
        Ok(())
    }

    fn wrong(&self, at: &Range<usize>, text: &str) -> ConfigError {
        ConfigError(format!("{}: {}", self.place(at), escape(text.as_bytes())))
    }

    fn place(&self, at: &Range<usize>) -> String {
        let before = self.text.as_bytes().get(..at.start).unwrap_or_default();
        format!("{}:{}", shown(self.file), 1 + before.iter().filter(|&&byte| byte == b'\n').count())
    }
}
