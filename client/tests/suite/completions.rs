//! What Tab completes in the real shells, with the real client behind it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::guest::pty::Terminal;
use crate::guest::{Directory, client, client_binary};

/// A folder with `alpha.txt`, `al pha` and `folder/`, and the client under its name in `bin/`.
fn place() -> Directory {
    let directory = Directory::new();
    directory.file("alpha.txt", b"");
    directory.file("al pha", b"");
    directory.subdirectory("folder");
    directory.file("config.toml", b"[targets.winbox]\naddress = \"unix:/run/winbox\"\n");
    let bin = directory.subdirectory("bin");
    std::os::unix::fs::symlink(client_binary(), bin.join("vsock-shell")).unwrap();
    directory
}

/// A shell in that folder, in which nothing of this machine's settings counts.
fn shell(program: &str, directory: &Directory) -> Command {
    let home = directory.path("");
    let path = format!("{}:{}", directory.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(program);
    command.env("HOME", &home).env("ZDOTDIR", &home).env("PATH", path).env("LC_ALL", "C");
    command.env("VSOCK_SHELL_CONFIG", directory.path("config.toml"));
    command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
    command.current_dir(home);
    command
}

/// A shell in a terminal, where Control-T shows the line as it is now, between `<` and `>`.
struct Typed {
    terminal: Terminal,
    /// What is shown before it listens again, where it does not all the time.
    again: Option<&'static str>,
}

impl Typed {
    fn start(command: &Command, again: Option<&'static str>) -> Self {
        let mut terminal = Terminal::start_sized(command, 50, 200);
        terminal.wait_for("ready> ");
        Self { terminal, again }
    }

    /// Tab makes this of what was typed.
    #[track_caller]
    fn completes(&mut self, typed: &str, expected: &str) {
        self.terminal.type_keys(format!("{typed}\t\x14"));
        self.terminal.wait_for(&format!("<{expected}>"));
        if let Some(again) = self.again {
            self.terminal.wait_for(again);
        }
        // The whole line is taken back.
        self.terminal.type_keys("\x05\x15");
    }

    /// Tab shows these besides others, in this order.
    #[track_caller]
    fn lists(&mut self, typed: &str, expected: &[&str]) {
        self.terminal.type_keys(format!("{typed}\t"));
        expected.iter().for_each(|text| _ = self.terminal.wait_for(text));
        self.terminal.type_keys("\x05\x15");
    }
}

/// What is the same for bash and zsh, after the Tab.
fn is_completed(shell: &mut Typed) {
    shell.completes("vsock-shell wai", "vsock-shell wait ");
    shell.completes("vsock-shell -t --rec", "vsock-shell -t --reconnect ");
    shell.completes("vsock-shell cp --chec", "vsock-shell cp --checksum ");
    shell.completes("vsock-shell wait --chec", "vsock-shell wait --chec");
    shell.completes("vsock-shell sys dm", "vsock-shell sys dmesg ");
    shell.completes("vsock-shell fs mkdir --par", "vsock-shell fs mkdir --parents ");
    shell.completes("vsock-shell completions fi", "vsock-shell completions fish ");
    // A name of the configuration.
    shell.completes("vsock-shell wi", "vsock-shell winbox ");
    shell.completes("vsock-shell each root@wi", "vsock-shell each root@winbox ");
    shell.completes("vsock-shell cp wi", "vsock-shell cp winbox:");
    // A word that goes on.
    shell.completes("vsock-shell un", "vsock-shell unix:");
    shell.completes("vsock-shell wait root@un", "vsock-shell wait root@unix:");
    // Files, where a value or an operand is one.
    shell.completes("vsock-shell --key alp", "vsock-shell --key alpha.txt ");
    shell.completes("vsock-shell --key=alp", "vsock-shell --key=alpha.txt ");
    shell.completes("vsock-shell unix:fol", "vsock-shell unix:folder/");
    shell.completes("vsock-shell cp alp", "vsock-shell cp alpha.txt ");
    shell.completes("vsock-shell cp fold", "vsock-shell cp folder/");
    shell.completes("vsock-shell cp al\\ ", "vsock-shell cp al\\ pha ");
    shell.completes("vsock-shell cp uni", "vsock-shell cp unix%");
    shell.completes("vsock-shell 3 -d /etc/motd:alp", "vsock-shell 3 -d /etc/motd:alpha.txt ");
    // A command is the guest's.
    shell.completes("vsock-shell 3 alp", "vsock-shell 3 alp");
    shell.completes("vsock-shell 3 -- alp", "vsock-shell 3 -- alp");
}

#[test]
fn bash_completes_verbs_flags_targets_and_files() {
    let directory = place();
    let script = client(["completions", "bash"]).output().unwrap().stdout;
    directory.file("script", &script);
    let rc = "PS1='ready> '; cd ~; . ./script\n\
              bind 'set bell-style none'; bind 'set show-all-if-ambiguous on'; bind 'set enable-bracketed-paste off'\n\
              show() { printf '<%s>\\n' \"$READLINE_LINE\"; }; bind -x '\"\\C-t\": show'\n";
    let rc = directory.file("rc", rc.as_bytes());
    let mut command = shell("bash", &directory);
    command.args(["--noprofile", "--rcfile"]).arg(rc).arg("-i");
    let mut bash = Typed::start(&command, Some("ready> "));
    is_completed(&mut bash);
    bash.lists("vsock-shell fs ", &["chmod", "mkdir"]);
    bash.lists("vsock-shell wait --", &["--expect-boot-id", "--timeout"]);
    // What stands behind the cursor is left as it is.
    bash.completes("vsock-shell wai 3\x1bb\x02", "vsock-shell wait  3");
}

/// zsh, with the script where it looks for such files, or read by hand.
fn zsh(directory: &Directory, read: &str) -> Typed {
    let rc = format!(
        "PS1='ready> '; cd ~\n\
         {read}\n\
         unsetopt beep prompt_sp prompt_cr zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste\n\
         show() {{ zle -M -- \"<$BUFFER>\" }}; zle -N show; bindkey -e; bindkey '^T' show\n"
    );
    directory.file(".zshrc", rc.as_bytes());
    let mut command = shell("zsh", directory);
    command.args(["-d", "-i"]);
    Typed::start(&command, None)
}

#[test]
fn zsh_completes_verbs_flags_targets_and_files() {
    let directory = place();
    let functions = directory.subdirectory("functions");
    let script = client(["completions", "zsh"]).output().unwrap().stdout;
    std::fs::write(functions.join("_vsock-shell"), script).unwrap();
    let mut zsh = zsh(&directory, "fpath=(~/functions $fpath); autoload -U compinit; compinit -u -d ~/dump");
    is_completed(&mut zsh);
    zsh.lists("vsock-shell fs ", &["chmod", "set permissions, in octal"]);
    zsh.lists("vsock-shell ", &["wait until the agent answers"]);
    zsh.lists("vsock-shell ", &["unix:", "a Unix socket"]);
}

#[test]
fn zsh_completes_with_a_script_that_was_read_by_hand() {
    let directory = place();
    let mut zsh =
        zsh(&directory, "autoload -U compinit; compinit -u -d ~/dump; source <(vsock-shell completions zsh)");
    zsh.completes("vsock-shell wai", "vsock-shell wait ");
}

/// The lines that fish offers.
fn fish(directory: &Directory, typed: &str) -> Vec<String> {
    let mut command = shell("fish", directory);
    let line = "vsock-shell completions fish | source; complete -C $argv[1]";
    command.args(["--no-config", "-c", line, typed]).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("fish: {error}"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn fish_completes_verbs_flags_targets_and_files() {
    let directory = place();
    for (typed, expected) in [
        ("vsock-shell wai", &["wait\twait until the agent answers"][..]),
        (
            "vsock-shell wait --time",
            &["--timeout\tkeep trying to connect for so long (2; with --listen for ever); 0: try once"],
        ),
        (
            "vsock-shell -t --rec",
            &["--reconnect\tkeep trying for so long to get a lost connection back (30); 0: do not"],
        ),
        ("vsock-shell sys dm", &["dmesg\twhat the kernel has logged"]),
        (
            "vsock-shell fs mkdir --par",
            &["--parents\tthose that lead there too, and what is there already is fine"],
        ),
        ("vsock-shell un", &["unix:\ta Unix socket"]),
        ("vsock-shell completions z", &["zsh"]),
        ("vsock-shell winb", &["winbox\tunix:/run/winbox"]),
        ("vsock-shell cp winb", &["winbox:\tunix:/run/winbox"]),
        ("vsock-shell 3 alp", &[]),
        ("vsock-shell 3 -- alp", &[]),
    ] {
        assert_eq!(fish(&directory, typed), expected, "{typed}");
    }
    let flags = fish(&directory, "vsock-shell wait --");
    assert!(flags.iter().any(|line| line.starts_with("--timeout\t")), "{flags:?}");
    assert!(!flags.iter().any(|line| line.starts_with("--checksum")), "{flags:?}");
    // Beside a file stands what fish knows of it.
    for (typed, expected) in [
        ("vsock-shell --key alp", "alpha.txt"),
        ("vsock-shell --key=alp", "--key=alpha.txt"),
        ("vsock-shell unix:fol", "unix:folder/"),
        ("vsock-shell cp alp", "alpha.txt"),
        ("vsock-shell cp 'al ", "al pha"),
        ("vsock-shell cp unix%fol", "unix%folder/"),
        ("vsock-shell 3 -d /etc/motd:alp", "/etc/motd:alpha.txt"),
    ] {
        let offered = fish(&directory, typed);
        let words: Vec<&str> = offered.iter().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(words, [expected], "{typed}");
    }
}

#[test]
fn a_script_stands_alone_on_standard_output() {
    for shell in ["bash", "zsh", "fish"] {
        let output = client(["completions", shell]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.lines().any(|line| line.contains("completions -- ")), "{script}");
        // Whoever starts the shell may not have the client any more.
        let directory = Directory::new();
        let file = directory.file("script", script.as_bytes());
        is_read_in_silence(shell, &file);
    }
}

fn is_read_in_silence(shell: &str, file: &Path) {
    let output = Command::new(shell).arg("-n").arg(file).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
