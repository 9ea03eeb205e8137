use super::*;

const WORDS: Vocabulary<'_> = Vocabulary {
    options: &["user", "port", "key", "reconnect", "env", "quiet", "listen", "exclude"],
    verbs: &["cp", "targets"],
};

#[track_caller]
fn entries(text: &str) -> Vec<Entry> {
    file::read(Path::new("/c"), text, Some(Path::new("/home/me")), WORDS)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn wrong(text: &str) -> String {
    match file::read(Path::new("/c"), text, None, WORDS) {
        Ok(entries) => panic!("{text}: {entries:?}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn words(text: &str) -> Vec<OsString> {
    let entry = entries(&format!("[targets.box]\n{text}")).remove(0);
    entry.options.into_iter().map(|setting| setting.word).collect()
}

/// A folder with files of this name that is gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("vsock-shell-config-{}-{name}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

fn places(files: impl Into<Vec<PathBuf>>, must_exist: bool) -> Places {
    Places { files: files.into(), must_exist, home: None }
}

#[test]
fn an_entry_is_an_address_and_words_of_the_command_line() {
    let text = "[targets.box]\naddress = 'unix:/run/box.sock'\nuser = 'root'\nport = 22\n";
    let [entry] = entries(text).try_into().unwrap();
    assert_eq!((entry.name.as_str(), entry.place.as_str()), ("box", "/c:1"));
    assert_eq!(entry.address.as_deref(), Some("unix:/run/box.sock"));
    let settings: Vec<_> = entry.options.iter().map(|setting| (&setting.word, &*setting.place)).collect();
    assert_eq!(settings, [(&"--user=root".into(), "/c:3"), (&"--port=22".into(), "/c:4")]);
}

#[test]
fn values_are_strings_numbers_true_and_lists_of_them() {
    assert_eq!(words("reconnect = 0.5"), ["--reconnect=0.5"]);
    assert_eq!(words("reconnect = 1_000"), ["--reconnect=1000"]);
    assert_eq!(words("quiet = true"), ["--quiet"]);
    assert!(words("quiet = false").is_empty());
    assert_eq!(words("exclude = ['*.o', '/b']"), ["--exclude=*.o", "--exclude=/b"]);
    assert_eq!(words("env = { A = '1', B = 'x y' }"), ["--env=A=1", "--env=B=x y"]);
    assert_eq!(words("user = ''"), ["--user="]);
}

#[test]
fn the_order_is_that_of_the_file() {
    assert_eq!(words("port = 1\nenv = 'A'\nkey = 'k'"), ["--port=1", "--env=A", "--key=k"]);
    let text = "[targets.'z*']\n[targets.'a*']\n[targets.m]\n";
    let names: Vec<_> = entries(text).into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["z*", "a*", "m"]);
}

#[test]
fn a_tilde_is_the_home_in_paths_of_this_side() {
    assert_eq!(words("key = '~/k'"), ["--key=/home/me/k"]);
    assert_eq!(words("env = '~/k'"), ["--env=~/k"]);
    for (written, meant) in [
        ("mux:~/v.sock:7", "mux:/home/me/v.sock:7"),
        ("root@unix:~/a", "root@unix:/home/me/a"),
        ("exec:~/bin/a", "exec:~/bin/a"),
        ("exec:ssh host:~/a", "exec:ssh host:~/a"),
        ("unix:/a:~/b", "unix:/a:~/b"),
    ] {
        let entry = entries(&format!("[targets.box]\naddress = '{written}'")).remove(0);
        assert_eq!(entry.address.as_deref(), Some(meant));
    }
}

#[test]
fn the_name_stands_in_the_address_of_a_pattern() {
    let entry = entries("[targets.'ci-*']\naddress = 'mux:/run/{name}/{name}.sock'").remove(0);
    assert_eq!(entry.address_of("ci-1").as_deref(), Some("mux:/run/ci-1/ci-1.sock"));
}

#[test]
fn an_entry_without_an_address_has_none() {
    let entry = entries("[targets.box]\nuser = 'root'").remove(0);
    assert_eq!(entry.address_of("box"), None);
}

#[test]
fn a_mistake_is_told_with_its_file_its_line_and_its_key() {
    for (text, expected) in [
        ("[targets.box\n", "/c:1: this is not TOML"),
        ("\n[target.box]", "/c:2: `target` is nothing"),
        ("targets = 3", "/c:1: `targets` is a table"),
        ("[targets]\nbox = 3", "/c:2: targets.box is a table"),
        (
            "[targets.box]\nadress = 'vsock:3'",
            "/c:2: targets.box.adress: there is no option --adress; did you mean `address`?",
        ),
        ("[targets.box]\nrecconect = 1", "did you mean `reconnect`?"),
        ("[targets.box]\nwhatever = 1", "targets.box.whatever: there is no option --whatever; a key is"),
        ("[targets.box]\nlisten = 'vsock'", "targets.box.listen: --listen cannot stand in a configuration"),
        ("[targets.box]\naddress = 'ssh:x'", "/c:2: targets.box.address: cannot use `ssh:x`: its first word"),
        ("[targets.box]\naddress = 'other'", "/c:2: targets.box.address: cannot use `other`"),
        ("[targets.box]\naddress = 3", "/c:2: targets.box.address is a string"),
        ("[targets.box]\nport = 0x10", "/c:2: targets.box.port is a string, a decimal number"),
        ("[targets.box]\nport = 2026-01-01", "/c:2: targets.box.port is a string"),
        ("[targets.box]\nenv = [['A']]", "/c:2: targets.box.env: a list holds no lists"),
        ("[targets.box]\nenv = { A = 1 }", "/c:2: targets.box.env: a value here is a string"),
        ("[targets.box]\naddress = 'a@vsock:3'\nuser = 'b'", "/c:1: targets.box names the user twice"),
        ("[targets.cp]", "/c:1: cannot use the name `cp`: it is a verb"),
        ("[targets.3]", "/c:1: cannot use the name `3`: a number"),
        ("[targets.'vsock:3']", "cannot use the name `vsock:3`"),
        ("[targets.'vsock%3']", "cannot use the name `vsock%3`"),
        ("[targets.'a/*']", "cannot use the name `a/*`"),
        (r#"[targets."a\u001b[31m"]"#, r"cannot use the name `a\x1b[31m`"),
    ] {
        let error = wrong(text);
        assert!(error.contains(expected), "{text:?}: {error}");
        assert!(error.starts_with("/c:") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn an_entry_of_the_first_file_stands_for_that_of_the_second() {
    let folder = Folder::new("over");
    let above = folder.file("above", "[targets.box]\naddress = 'vsock:3'\n[targets.'*']\nport = 1");
    let below = folder.file(
        "below",
        "[targets.box]\naddress = 'vsock:4'\nport = 7\n[targets.db]\nport = 2\n[targets.'d*']\n",
    );
    let config = Config::load(&places([above, below], true), WORDS).unwrap();
    let names: Vec<_> = config.entries().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["box", "*", "db", "d*"]);
    assert_eq!(config.find("box").unwrap().address.as_deref(), Some("vsock:3"));
    assert!(config.find("box").unwrap().options.is_empty());
}

#[test]
fn the_own_entry_of_a_name_counts_before_the_first_pattern_that_matches() {
    let text = "[targets.'ci-*']\nport = 1\n[targets.'ci-1*']\nport = 2\n[targets.ci-12]\nport = 3\n";
    let config = Config { entries: entries(text) };
    let port = |name| config.find(name).map(|entry| entry.options[0].word.to_str().unwrap());
    assert_eq!((port("ci-12"), port("ci-11"), port("web")), (Some("--port=3"), Some("--port=1"), None));
    // What is typed is a name, and not the pattern that looks like it.
    assert_eq!(port("ci-*"), Some("--port=1"));
}

#[test]
fn a_file_that_is_not_there_is_missed_only_where_it_was_named() {
    let folder = Folder::new("missing");
    let missing = folder.0.join("none");
    assert_eq!(Config::load(&places([missing.clone()], false), WORDS), Ok(Config::default()));
    let error = Config::load(&places([missing.clone()], true), WORDS).unwrap_err().to_string();
    assert_eq!(error, format!("cannot read {}: No such file or directory", missing.display()));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_also_where_it_was_not_named() {
    let folder = Folder::new("unreadable");
    let error = Config::load(&places([folder.0.clone()], false), WORDS).unwrap_err().to_string();
    assert_eq!(error, format!("cannot read {}: Is a directory", folder.0.display()));
    let file = folder.0.join("binary");
    std::fs::write(&file, b"\xff").unwrap();
    let error = Config::load(&places([file], false), WORDS).unwrap_err().to_string();
    assert!(error.ends_with("it is not UTF-8"), "{error}");
}

#[test]
fn the_environment_says_where_the_files_are() {
    let of = |variables: &[(&str, &str)]| {
        let variables: Vec<(String, OsString)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        let places = Places::new(|name| {
            variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        });
        (places.files, places.must_exist)
    };
    let system = PathBuf::from(SYSTEM);
    assert_eq!(of(&[]), (vec![system.clone()], false));
    let home = PathBuf::from("/h/.config/vsock-shell/config.toml");
    assert_eq!(of(&[("HOME", "/h")]), (vec![home.clone(), system.clone()], false));
    assert_eq!(of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "relative")]), (vec![home, system.clone()], false));
    assert_eq!(
        of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]),
        (vec!["/x/vsock-shell/config.toml".into(), system], false)
    );
    assert_eq!(of(&[("HOME", "/h"), (VARIABLE, "mine")]), (vec!["mine".into()], true));
}
