use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::config;
use crate::guests::Monitor;
use crate::target::{Address, DEFAULT_PORT};

fn guest(name: &str, cid: u32) -> Guest {
    let address = Address::Vsock { cid, port: DEFAULT_PORT };
    Guest { name: name.to_owned(), monitor: Monitor::Qemu, pid: 100 + cid, address }
}

fn names(text: &str) -> Names {
    let config =
        with_vocabulary(|words| config::Config::read_text("configuration".as_ref(), text, None, words))
            .unwrap();
    Names::new(move || Ok(config.clone()), || vec![guest("box", 3), guest("ci-1", 4)])
}

/// What a name leads to, and its options.
fn found(names: &Names, name: &str) -> Result<(String, usize), NamesError> {
    let named = names.find(name)?;
    Ok((named.target(22).unwrap().address.to_string(), named.settings().len()))
}

#[test]
fn the_configuration_comes_before_the_guests_that_run() {
    let names = names("[targets.box]\naddress = 'unix:/a'\nport = 7");
    assert_eq!(found(&names, "box"), Ok(("unix:/a".to_owned(), 1)));
    assert_eq!(found(&names, "ci-1"), Ok(("vsock:4:22".to_owned(), 0)));
    assert_eq!(found(&names, "other"), Err(NamesError::Unknown));
}

#[test]
fn an_entry_without_an_address_is_for_the_guest_of_its_name() {
    let names = names("[targets.'ci-*']\nquiet = true\n[targets.db]\nquiet = true");
    assert_eq!(found(&names, "ci-1"), Ok(("vsock:4:22".to_owned(), 1)));
    assert_eq!(found(&names, "ci-2"), Err(NamesError::NotRunning("configuration:1".to_owned())));
    assert_eq!(found(&names, "db"), Err(NamesError::NotRunning("configuration:3".to_owned())));
}

#[test]
fn what_cannot_be_a_name_finds_nothing() {
    let names = names("[targets.'*']\naddress = 'exec:x {name}'");
    assert_eq!(found(&names, "a"), Ok(("exec:x a".to_owned(), 0)));
    for word in ["a;b", "$(a)", "-a", "a b", "..'", "cp", "exec", "ci-*", ""] {
        assert_eq!(found(&names, word), Err(NamesError::Unknown), "{word}");
    }
}

#[test]
fn all_names_are_those_of_the_configuration_and_then_the_others() {
    let names =
        names("[targets.z]\naddress = 'vsock:9'\n[targets.'x*']\nquiet = true\n[targets.box]\nquiet = true");
    assert_eq!(names.all().unwrap(), ["z", "box", "ci-1"]);
    assert_eq!(names.matching("*").unwrap(), ["z", "box", "ci-1"]);
    assert_eq!(names.matching("?i-[0-9]").unwrap(), ["ci-1"]);
    assert!(names.matching("x*").unwrap().is_empty());
}

#[test]
fn nothing_is_looked_for_before_it_is_needed_and_nothing_twice() {
    let (loads, searches) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (loading, searching) = (Rc::clone(&loads), Rc::clone(&searches));
    let config = with_vocabulary(|words| {
        config::Config::read_text("configuration".as_ref(), "[targets.a]\naddress = '3'", None, words)
    })
    .unwrap();
    let names = Names::new(
        move || {
            loading.set(loading.get() + 1);
            Ok(config.clone())
        },
        move || {
            searching.set(searching.get() + 1);
            vec![guest("box", 3)]
        },
    );
    assert_eq!((loads.get(), searches.get()), (0, 0));
    assert!(names.find("a").is_ok());
    assert_eq!((loads.get(), searches.get()), (1, 0), "no process is looked at for what has an address");
    assert!(names.find("box").is_ok() && names.find("none").is_err());
    assert_eq!((loads.get(), searches.get()), (1, 1));
}

#[test]
fn a_name_that_makes_an_address_too_long_is_told() {
    let names = names(&format!("[targets.'*']\naddress = 'unix:/{}/{{name}}'", "x".repeat(100)));
    let name = "y".repeat(20);
    assert_eq!(names.find(&name).unwrap().target(1).err(), Some(TargetError::PathTooLong));
}
