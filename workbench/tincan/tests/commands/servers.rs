//! The list of servers, as `tincan servers` prints it, and its copy for the gates.

use std::fs;
use std::path::Path;
use std::process::Command;

use check::Profile;
use clap::ValueEnum as _;
use probe::servers::{Behaviour, SERVERS};

fn servers(args: &[&str]) -> String {
    let mut tincan = Command::new(env!("CARGO_BIN_EXE_tincan"));
    let output = tincan.arg("servers").args(args).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_copy_for_the_gates_is_the_list() {
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/servers.json");
    let again = "cargo tincan servers --json >.ci/servers.json";
    assert_eq!(fs::read_to_string(copy).unwrap(), servers(&["--json"]), "run: {again}");
}

#[test]
fn the_table_has_a_line_for_each_server_and_fits() {
    let table = servers(&[]);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    for server in SERVERS {
        let is_its = |line: &&str| line.starts_with(&format!("{} ", server.name));
        let line = table.lines().find(is_its).unwrap();
        assert!(line.contains(&format!(" {} ", server.port)), "{line}");
    }
}

#[test]
fn each_profile_is_one_of_the_checker() {
    for server in SERVERS {
        let Some(name) = server.profile else { continue };
        let profile = Profile::from_str(name, false).unwrap();
        assert_eq!(profile.is_echo(), server.behaviour == Behaviour::Echo, "{}", server.name);
        assert_eq!(profile.is_chat(), server.behaviour == Behaviour::Chat, "{}", server.name);
    }
}

#[test]
fn the_readme_lists_each_package() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for server in SERVERS {
        let link = format!("{}/README.md)", server.source.split("/src/").next().unwrap());
        let is_there = readme.contains(&link) || readme.contains(&format!("]({})", server.source));
        assert!(is_there, "{} is not in the README", server.package);
    }
}
