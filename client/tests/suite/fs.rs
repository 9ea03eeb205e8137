//! Files of a guest without a program in it: `fs`.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::guest::fake::{Fake, items};
use crate::guest::stream::composed;
use crate::guest::{self, Directory, Finished, Guest, Running, TARGET, agent_binary, client, is_root, names};
use serde_json::Value;
use vsock_shell_proto::items::{Meta, Timestamp, encode_entry, encode_leave, encode_problem, meta_flag};

/// Runs a verb on these paths, with options before them.
#[track_caller]
fn verb(guest: &Guest, verb: &str, options: &[&str], paths: &[&Path]) -> Finished {
    let options = options.iter().map(OsStr::new);
    let words = [OsStr::new("fs"), OsStr::new(verb)].into_iter().chain(options).chain([OsStr::new(TARGET)]);
    guest.run(words.chain(paths.iter().map(|path| path.as_os_str())))
}

#[track_caller]
fn json(finished: &Finished) -> Value {
    serde_json::from_str(finished.stdout()).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn r_9_12_mkdir_makes_directories_and_with_p_those_that_lead_there() {
    let guest = Guest::start();
    let path = |name: &str| guest.directory.path(name);
    verb(&guest, "mkdir", &[], &[&path("a"), &path("b")]).succeeded();
    assert!(path("a").is_dir() && path("b").is_dir());
    verb(&guest, "mkdir", &[], &[&path("c/d")])
        .failed(1, &["cannot make the directory", "c/d", "No such file"]);
    verb(&guest, "mkdir", &[], &[&path("a")]).failed(1, &["File exists"]);
    for _ in 0..2 {
        verb(&guest, "mkdir", &["-p"], &[&path("c/d//e/")]).succeeded();
        assert!(path("c/d/e").is_dir());
    }
    let file = guest.directory.file("file", b"");
    verb(&guest, "mkdir", &["-p"], &[&file]).failed(1, &["File exists"]);
    verb(&guest, "mkdir", &["-p"], &[&file.join("x")]).failed(1, &["Not a directory"]);
}

#[test]
fn r_9_12_rm_removes_files_links_and_empty_directories() {
    let guest = Guest::start();
    let (file, empty) = (guest.directory.file("file", b"x"), guest.directory.subdirectory("empty"));
    let (full, link) = (guest.directory.subdirectory("full"), guest.directory.path("link"));
    fs::write(full.join("x"), "").unwrap();
    symlink(&full, &link).unwrap();
    verb(&guest, "rm", &[], &[&file, &empty, &link]).succeeded();
    assert!(!file.exists() && !empty.exists() && link.symlink_metadata().is_err());
    assert_eq!(names(&full), ["x"], "a link is not followed");
    verb(&guest, "rm", &[], &[&full]).failed(1, &["cannot remove", "full", "Directory not empty"]);
}

#[test]
fn r_9_12_mv_ln_and_chmod() {
    let guest = Guest::start();
    let [from, to, link] = ["from", "to", "link"].map(|name| guest.directory.path(name));
    fs::write(&from, "content").unwrap();
    fs::write(&to, "replaced").unwrap();
    verb(&guest, "mv", &[], &[&from, &to]).succeeded();
    assert_eq!((fs::read_to_string(&to).unwrap(), from.exists()), ("content".into(), false));
    verb(&guest, "mv", &[], &[&from, &to]).failed(1, &["cannot rename", "from", "No such file"]);

    verb(&guest, "ln", &["-s"], &[Path::new("to"), &link]).succeeded();
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("to"));
    verb(&guest, "ln", &["-s"], &[Path::new("to"), &link])
        .failed(1, &["cannot make the link", "File exists"]);

    // Through the link.
    verb(&guest, "chmod", &[], &[Path::new("4751"), &link]).succeeded();
    assert_eq!(mode(&to), 0o4751);
    verb(&guest, "chmod", &[], &[Path::new("600"), &from]).failed(1, &["cannot set the mode of", "from"]);
}

#[test]
fn a_tilde_is_the_home_directory() {
    let guest = Guest::start_by(|directory| {
        let home = directory.subdirectory("home");
        let script = "mount --bind \"$1\" ~root && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh"]);
        command.arg(home).arg(agent_binary());
        command
    });
    let home = guest.directory.path("home");
    let run = |name: &str, options: &[&str], paths: &[&str]| {
        let paths: Vec<&Path> = paths.iter().map(Path::new).collect();
        verb(&guest, name, options, &paths).succeeded().to_owned()
    };
    run("mkdir", &["-p"], &["~/a/b", "~"]);
    run("mv", &[], &["~/a/b", "~/moved"]);
    run("ln", &["-s"], &["~/moved", "~/link"]);
    assert_eq!(fs::read_link(home.join("link")).unwrap(), Path::new("~/moved"));
    run("chmod", &[], &["700", "~/moved"]);
    assert_eq!(mode(&home.join("moved")), 0o700);
    assert!(run("stat", &[], &["~/moved"]).starts_with("name: ~/moved\ntype: directory\n"));
    assert!(run("df", &[], &["~"]).ends_with("%  ~\n"));
    assert_eq!(run("ls", &[], &["~"]), "a\nlink\nmoved\n");
    run("rm", &[], &["~/link"]);
    run("rm", &["-r"], &["~/a"]);
    assert_eq!(names(&home), ["moved"]);
    run("mkdir", &["-p"], &["/", "/proc/"]);
    verb(&guest, "rm", &[], &[Path::new("~/none")]).failed(1, &["cannot remove ~/none: No such file"]);
}

#[test]
fn r_9_12_df_tells_how_full_a_file_system_is() {
    let guest = Guest::start();
    let here = rustix::fs::statfs(guest.directory.path(".")).unwrap();
    let told = json(&verb(&guest, "df", &["--json"], &[&guest.directory.path("."), Path::new("/proc")]));
    assert_eq!((&told[0]["blocks"], &told[0]["block_size"]), (&here.f_blocks.into(), &here.f_bsize.into()));
    assert_eq!((&told[1]["type"], &told[1]["blocks"]), (&0x9fa0.into(), &0.into()));
    let table = verb(&guest, "df", &[], &[]);
    let lines: Vec<&str> = table.succeeded().lines().collect();
    assert!(lines.len() == 2 && lines[1].ends_with("%  /"), "{lines:?}");
    verb(&guest, "df", &[], &[&guest.directory.path("none")]).failed(1, &["cannot look at", "none"]);
}

#[test]
fn each_failure_is_told_and_the_rest_goes_on() {
    let guest = Guest::start();
    let [first, last] = ["first", "last"].map(|name| guest.directory.file(name, b""));
    let [none, hostile] =
        [OsStr::new("none"), OsStr::from_bytes(b"\x1b]0;x\x07\xff")].map(|name| guest.directory.path(name));
    let finished = verb(&guest, "rm", &["--json"], &[&first, &none, &hostile, &last]);
    assert_eq!(finished.status(), 1);
    assert!(!first.exists() && !last.exists());
    let lines: Vec<&str> = finished.stderr().lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("vsock-shell: unix:")), "{lines:?}");
    assert!(lines[1].ends_with("/\\x1b]0;x\\x07\\xff: No such file or directory"), "{lines:?}");
    let told = json(&finished);
    let failed: Vec<bool> = told.as_array().unwrap().iter().map(|one| !one["error"].is_null()).collect();
    assert_eq!(failed, [false, true, true, false]);
    assert!(told[2]["name"].as_str().unwrap().ends_with("\\x1b]0;x\\x07\\xff"));
}

#[test]
fn a_name_that_is_too_long_or_holds_blanks_is_nothing_special() {
    let guest = Guest::start();
    let odd = guest.directory.path("a b\nc");
    verb(&guest, "mkdir", &[], &[&odd]).succeeded();
    verb(&guest, "rm", &[], &[&odd]).succeeded();
    verb(&guest, "mkdir", &[], &[&guest.directory.path("x".repeat(256))]).failed(1, &["File name too long"]);
    let long = guest.directory.path("x/".repeat(3000));
    verb(&guest, "mkdir", &[], &[&long]).failed(1, &["File name too long"]);
}

#[test]
fn an_agent_that_cannot_be_reached_is_255() {
    let directory = Directory::new();
    let target = format!("unix:{}", directory.path("none").display());
    for words in
        [&["fs", "rm", "--timeout", "0", &target, "/none"][..], &["sys", "env", "--timeout", "0", &target]]
    {
        let output = client(words).output().unwrap();
        assert_eq!(output.status.code(), Some(255), "{output:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
    }
}

#[test]
fn a_user_has_the_rights_of_that_user() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let (closed, open) = (guest.directory.subdirectory("closed"), guest.directory.subdirectory("open"));
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let target = format!("nobody@{}", guest.target());
    let run = |verb: &str, path: &Path| guest.run(["fs", verb, &target, path.to_str().unwrap()]);
    run("mkdir", &closed.join("x")).failed(1, &["Permission denied"]);
    run("df", &closed.join("x")).failed(1, &["Permission denied"]);
    run("mkdir", &open.join("x")).succeeded();
    let nobody = Command::new("id").args(["-u", "nobody"]).output().unwrap().stdout;
    let owner = open.join("x").metadata().unwrap().uid();
    assert_eq!(owner.to_string(), String::from_utf8(nobody).unwrap().trim());
    let nobodys = guest.run(["-l", "no-such-user", "fs", "rm", TARGET, "/none"]);
    nobodys.failed(255, &["no-such-user"]);
}

#[test]
fn a_read_only_file_system_is_told() {
    let guest = Guest::start_by(|directory| {
        let frozen = directory.subdirectory("frozen");
        let script = "mount -t tmpfs -o ro none \"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh"]);
        command.arg(frozen).arg(agent_binary());
        command
    });
    let inside = guest.directory.path("frozen/x");
    verb(&guest, "mkdir", &["-p"], &[&inside]).failed(1, &["Read-only file system"]);
    verb(&guest, "ln", &["-s"], &[Path::new("x"), &inside]).failed(1, &["Read-only file system"]);
}

#[test]
fn ls_lists_directories_and_what_is_named() {
    let guest = Guest::start();
    let folder = guest.directory.subdirectory("folder");
    for name in ["b", "a", ".hidden", "\u{1b}[31m"] {
        fs::write(folder.join(name), name).unwrap();
    }
    fs::create_dir(folder.join("inner")).unwrap();
    fs::write(folder.join("inner/not shown"), "").unwrap();
    symlink("a", folder.join("link")).unwrap();
    assert_eq!(verb(&guest, "ls", &[], &[&folder]).succeeded(), "\\x1b[31m\n.hidden\na\nb\ninner\nlink\n");
    let long = verb(&guest, "ls", &["-l"], &[&folder]).succeeded().to_owned();
    assert!(long.lines().any(|line| line.starts_with("l") && line.ends_with("link -> a")), "{long}");
    assert!(long.lines().any(|line| line.starts_with("drwx") && line.ends_with(" inner")), "{long}");
    let one = verb(&guest, "ls", &[], &[&folder.join("a")]).succeeded().to_owned();
    assert_eq!(one, format!("{}\n", folder.join("a").display()));
    let itself = verb(&guest, "ls", &["-d"], &[&folder]).succeeded().to_owned();
    assert_eq!(itself, format!("{}\n", folder.display()));
    let several = verb(&guest, "ls", &[], &[&folder.join("inner"), Path::new("/none"), &folder]);
    assert_eq!(several.status(), 1);
    assert!(several.stderr().contains("cannot look at /none: No such file or directory"), "{several:?}");
    assert!(several.stdout().contains(&format!("{}/inner:\nnot shown\n\n", folder.display())));
    let value = json(&verb(&guest, "ls", &["--json"], &[&folder]));
    assert_eq!(value[0]["entries"].as_array().unwrap().len(), 6);
    assert_eq!(value[0]["entries"][2]["size"], 1);
}

#[test]
fn ls_tells_what_it_cannot_look_at_but_not_what_has_vanished() {
    let folder = Meta { mode: 0o040_755, flags: meta_flag::OPEN, ..Meta::file(0, 0, Timestamp::NONE) };
    let file = Meta { flags: 0, ..Meta::file(0o644, 1, Timestamp::NONE) };
    let problem =
        |errno, path: &'static [u8]| move |out: &mut [u8]| encode_problem(out, errno, path, b"open");
    let fake = Fake::start(move |_| {
        items([
            composed(|out| encode_entry(out, &folder, b"", b"")),
            composed(problem(2, b"gone")),
            composed(problem(13, b"closed")),
            composed(|out| encode_entry(out, &file, b"file", b"")),
            composed(|out| encode_leave(out, &folder)),
        ])
    });
    let target = format!("unix:{}", fake.directory.path("socket").display());
    let ls = |option: &str| Running::start(&mut client(["fs", "ls", option, &target, "/folder"])).finish(b"");
    let check = |finished: &Finished| {
        assert_eq!((finished.status(), finished.stderr().lines().count()), (1, 1), "{finished:?}");
        assert!(finished.stderr().ends_with(": cannot look at /folder/closed: Permission denied\n"));
    };
    let finished = ls("-q");
    check(&finished);
    assert_eq!(finished.stdout(), "file\n");
    let finished = ls("--json");
    check(&finished);
    let told = json(&finished);
    let problem = serde_json::json!({
        "path": "/folder/closed", "error": "cannot look at /folder/closed: Permission denied"
    });
    assert_eq!((&told[0]["entries"][0]["name"], &told[0]["problems"][0]), (&"file".into(), &problem));
    assert_eq!(told[0]["problems"].as_array().map(Vec::len), Some(1));
}

#[test]
fn stat_tells_what_lstat_does() {
    let guest = Guest::start();
    let file = guest.directory.file("file", b"12345");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    symlink("file", guest.directory.path("link")).unwrap();
    let there = file.metadata().unwrap();
    let value = json(&verb(&guest, "stat", &["--json"], &[&file, &guest.directory.path("link")]));
    let of_file = &value[0];
    assert_eq!(
        (&of_file["size"], &of_file["mode"], &of_file["type"]),
        (&5.into(), &0o640.into(), &"file".into())
    );
    assert_eq!(of_file["inode"], there.ino());
    assert_eq!(of_file["modified_seconds"], there.mtime());
    assert_eq!(of_file["modified_nanoseconds"], there.mtime_nsec());
    assert_eq!((&value[1]["type"], &value[1]["target"]), (&"link".into(), &"file".into()));
    let text = verb(&guest, "stat", &[], &[&file]).succeeded().to_owned();
    assert!(text.contains("size: 5\n") && text.contains("mode: 0640 (-rw-r-----)\n"), "{text}");
    verb(&guest, "stat", &[], &[Path::new("/none")]).failed(1, &["cannot look at /none"]);
}

#[test]
fn cat_pours_files_out_as_they_are() {
    let guest = Guest::start();
    let one = guest.directory.file("one", b"\x1b\xff1\n");
    let other = guest.directory.file("other", &guest::payload(300_000));
    let finished = verb(&guest, "cat", &[], &[&one, Path::new("/none"), &other]);
    assert_eq!(finished.status(), 1);
    assert_eq!(finished.0.stdout, [b"\x1b\xff1\n".to_vec(), guest::payload(300_000)].concat());
    assert!(finished.stderr().contains("cannot read /none: No such file or directory"));
    let proc = verb(&guest, "cat", &[], &[Path::new("/proc/self/comm")]).succeeded().to_owned();
    assert!(proc.starts_with("vsock-shell-age"), "{proc}");
    let folder = guest.directory.path("");
    verb(&guest, "cat", &[], &[&folder]).failed(1, &["Is a directory"]);
    let value = json(&verb(&guest, "cat", &["--json"], &[&one, Path::new("/proc/self/comm")]));
    assert_eq!(value[0]["content_base64"], "G/8xCg==");
    assert_eq!(value[1]["content"], "vsock-shell-age\n");
}

#[test]
fn rm_r_removes_what_is_in_it_and_tells_what_it_cannot() {
    let guest = Guest::start();
    let tree = guest.directory.path("tree");
    for folder in 0..20 {
        let folder = tree.join(format!("{folder}/a/b"));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..30 {
            fs::write(folder.join(file.to_string()), "").unwrap();
        }
        symlink("/etc", folder.join("link")).unwrap();
    }
    let kept = guest.directory.file("kept", b"");
    symlink(&kept, tree.join("out")).unwrap();
    verb(&guest, "rm", &[], &[&tree]).failed(1, &["Directory not empty"]);
    verb(&guest, "rm", &["-r"], &[&tree]).succeeded();
    assert!(!tree.exists() && kept.exists() && Path::new("/etc").exists());
    let deep = guest.directory.path("deep");
    fs::create_dir_all(deep.join("d/".repeat(127))).unwrap();
    verb(&guest, "rm", &["-r"], &[&deep]).succeeded();
    let too_deep = guest.directory.path("too");
    fs::create_dir_all(too_deep.join("d/".repeat(140))).unwrap();
    verb(&guest, "rm", &["-r"], &[&too_deep]).failed(1, &["cannot remove", "d/d/d/d", "File name too long"]);
    // For programs there is one result of each path, with all that is in it and could not be removed.
    let empty = guest.directory.subdirectory("empty");
    let finished = verb(&guest, "rm", &["-r", "--json"], &[&too_deep, &empty]);
    assert_eq!((finished.status(), finished.stderr().lines().count()), (1, 1), "{finished:?}");
    let told = json(&finished);
    assert_eq!(told.as_array().map(Vec::len), Some(2), "{told}");
    assert_eq!(told[0]["name"], too_deep.to_str().unwrap());
    assert_eq!(told[0]["error"], told[0]["problems"][0]["error"]);
    assert!(told[0]["problems"][0]["path"].as_str().unwrap().ends_with("d/d/d/d"), "{told}");
    assert_eq!(told[1], serde_json::json!({"name": empty.to_str().unwrap(), "error": null}));
    // A file and a link to a directory are removed like without it.
    symlink("/etc", guest.directory.path("link")).unwrap();
    verb(&guest, "rm", &["-r"], &[&kept, &guest.directory.path("link")]).succeeded();
    assert!(!kept.exists() && Path::new("/etc").is_dir());
}

#[test]
fn stat_tells_in_the_order_in_which_it_was_asked() {
    let guest = Guest::start();
    let [second, first] = ["a", "b"].map(|name| guest.directory.file(name, name.as_bytes()));
    let told = verb(&guest, "stat", &["--json"], &[&first, &second]);
    let told = json(&told);
    assert_eq!([&told[0]["name"], &told[1]["name"]], [first.to_str().unwrap(), second.to_str().unwrap()]);
    let text = verb(&guest, "stat", &[], &[&first, &second]).succeeded().to_owned();
    assert!(text.starts_with(&format!("name: {}\n", first.display())), "{text}");
}
