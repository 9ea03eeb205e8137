//! The client in a guest, which has a real AF_VSOCK: its doctor, and what goes through a connection there.

use std::process::Command;

use crate::guest::{boot, has, run, succeeds, wanted, with_client};
use serde_json::Value;
use xtask::image::Addition;
use xtask::vm::{Machine, Setup};

/// A guest with an agent that serves the guest itself, on port 5001.
fn serving(setup: &Setup) -> Machine {
    let machine = boot(setup);
    succeeds(&machine, &["<target>", "/init -p 5001 --allow-cid 1 -d"]);
    machine
}

/// Each check of the doctor's with its result, and what was seen and advised of the last.
fn doctor(machine: &Machine, words: &str) -> (Vec<(String, String)>, String) {
    let output = run(machine, &["<target>", &format!("exec vsock-shell doctor --json {words}")]);
    let said: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words}: {output:?}"));
    let checks = said["checks"].as_array().unwrap();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let has_failed = checks.iter().any(|check| check["result"] == "fail");
    assert_eq!((&said["ok"], output.status.code()), (&Value::Bool(!has_failed), Some(has_failed.into())));
    let last = checks.last().unwrap();
    let told = format!("{}; {}", text(last, "seen"), text(last, "advice"));
    (checks.iter().map(|check| (text(check, "check"), text(check, "result"))).collect(), told)
}

#[test]
fn the_doctor_finds_out_what_is_wrong_with_a_real_vsock() {
    if !wanted() {
        return;
    }
    let machine = serving(&with_client());
    let way = [("kernel", "ok"), ("/dev/vsock", "ok"), ("transport", "ok"), ("context id", "note")];
    let check = |words: &str, way: &[(&str, &str)], rest: &[(&str, &str)], told: &[&str]| {
        let (found, last) = doctor(&machine, words);
        let expected: Vec<_> =
            way.iter().chain(rest).map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(found, expected, "{words}");
        assert!(told.iter().all(|told| last.contains(told)), "{words}: {last}");
    };
    let answers = [("connection", "ok"), ("agent", "ok"), ("rights", "ok"), ("session", "ok")];
    check("-p 5001 1", &way, &answers, &["a question and its answer take"]);
    let refused = [("connection", "ok"), ("agent", "fail")];
    check("1", &way, &refused, &["does not accept this peer", "--allow-cid"]);
    check("-p 5999 1", &way, &[("connection", "fail")], &["Connection reset by peer", "on port 5999"]);
    let host = [way[0], way[1], way[2], ("context id", "ok"), ("connection", "fail")];
    check("2", &host, &[], &["timed out", "on the host"]);
    let other = [way[0], way[1], ("transport", "note"), way[3], ("connection", "fail")];
    check("77", &other, &[], &["timed out", "is it paused"]);
    check("0", &other[..3], &[("context id", "fail")], &["the hypervisor's"]);
    let (found, _) = doctor(&machine, "");
    assert!(found.contains(&("own context id".to_owned(), "ok".to_owned())), "{found:?}");
    // Connecting does without the device.
    succeeds(&machine, &["<target>", "rm /dev/vsock"]);
    let without = [way[0], ("/dev/vsock", "note"), way[2], way[3]];
    check("-p 5001 1", &without, &answers, &[]);
}

#[test]
fn a_socket_is_reached_through_a_real_vsock() {
    if !wanted() {
        return;
    }
    let machine = serving(&with_client());
    succeeds(&machine, &["<target>", "/init --listen unix:/tmp/a -d"]);
    let passes = "vsock-shell 'exec:vsock-shell -p 5001 -W /tmp/a vsock%1' 'echo passed'";
    assert_eq!(succeeds(&machine, &["<target>", passes]), "passed\n");
    let forwards =
        "vsock-shell -p 5001 -L /tmp/here:/tmp/a vsock%1 -- vsock-shell unix:/tmp/here echo forwarded";
    assert_eq!(succeeds(&machine, &["<target>", forwards]), "forwarded\n");
}

/// A program of this machine, and what it is linked to.
fn with_libraries(path: &str) -> Vec<Addition> {
    let output = Command::new("ldd").arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let libraries = lines.split_whitespace().filter(|word| word.starts_with('/'));
    let mut paths: Vec<&str> = libraries.chain([path]).collect();
    paths.sort_unstable();
    paths.iter().map(|path| Addition { source: path.into(), place: (*path).to_owned() }).collect()
}

#[test]
fn ssh_reaches_a_guest_by_its_context_id() {
    if !wanted() {
        return;
    }
    let mut setup = with_client();
    let programs = ["/usr/bin/ssh", "/usr/bin/ssh-keygen", "/usr/sbin/sshd"];
    if !has(&programs) {
        return;
    }
    for addition in programs.into_iter().flat_map(with_libraries) {
        if !setup.recipe.additions.contains(&addition) {
            setup.recipe.additions.push(addition);
        }
    }
    let machine = serving(&setup);
    let prepare = "ip link set lo up && mkdir -p /run/sshd /root /var/empty && chmod 700 /root && \
        printf 'root:x:0:0::/root:/bin/sh\nsshd:x:1:1::/run/sshd:/bin/false\n' > /etc/passwd && \
        printf 'root:x:0:\nsshd:x:1:\n' > /etc/group && \
        ssh-keygen -q -t ed25519 -N '' -f /root/host && ssh-keygen -q -t ed25519 -N '' -f /root/user && \
        /usr/sbin/sshd -f /dev/null -p 22 -h /root/host -o UsePAM=no -o PermitRootLogin=yes \
        -o AuthorizedKeysFile=/root/user.pub && \
        vsock-shell ssh-config -p 5001 > /root/config";
    succeeds(&machine, &["<target>", prepare]);
    let line = "ssh -F /root/config -i /root/user -o BatchMode=yes root@vsock%1 'echo by ssh; exit 7'";
    let output = run(&machine, &["<target>", line]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(7), &b"by ssh\n"[..]), "{output:?}");
}
