//! Tests the output of `tincan diff`, of the stages and of small files that each test makes.

#[cfg(target_os = "linux")]
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use probe::TIMEOUT;
use probe::server::pipe_without_reader;
use unicode_width::UnicodeWidthStr as _;

const PAIRS: [[&str; 2]; 4] = [
    ["echo-uni", "echo-multi"],
    ["echo-multi", "chat-threads"],
    ["chat-threads", "chat-poll"],
    ["chat-threads", "chat-async"],
];

#[test]
fn without_arguments_the_pairs_are_listed() {
    let list = text(&[]);
    for [a, b] in PAIRS {
        let (added, removed) = fewest(&stage(a), &stage(b));
        let row = list.lines().find(|line| line.starts_with(&format!("{a} → {b} "))).unwrap();
        let numbers: Vec<_> = row.split_whitespace().skip(3).collect();
        assert_eq!(numbers, [format!("+{added}"), format!("-{removed}")], "{row}");
        assert!(list.contains(&format!("\n  cargo tincan diff {a} {b}\n")), "{list}");
    }
}

#[test]
fn one_stage_is_compared_with_the_one_it_was_made_from() {
    let said = text(&["chat-async"]);
    let (first, rest) = said.split_once('\n').unwrap();
    assert_eq!(first, "chat-async is compared with chat-threads, which it was made from.");
    assert_eq!(rest, text(&["chat-threads", "chat-async"]));
}

#[test]
fn a_server_that_is_no_copy_is_compared_with_the_one_that_its_header_names() {
    let said = text(&["web-epoll", "--stat"]);
    let (first, rest) = said.split_once('\n').unwrap();
    assert_eq!(first, "web-epoll is compared with chat-poll.");
    assert!(
        rest.starts_with("chat-poll/src/main.rs → variations/web-epoll/src/main.rs\n"),
        "{rest}"
    );
    // Its `main` is not the only one of its package.
    let said = text(&["line-echo", "--stat"]);
    assert!(said.contains(" → variations/calc/src/bin/line-echo.rs\n"), "{said}");
}

#[test]
fn a_first_text_needs_a_second_one() {
    assert_refused(
        &["echo-uni"],
        &["echo-uni is the first stage", "cargo tincan diff echo-uni echo-multi"],
    );
    let files = Files::new(&[("mine.py", "pass\n")]);
    let mine = files.path("mine.py");
    assert_refused(
        &[&mine],
        &["has to be compared with something", &format!("diff echo-uni {mine}")],
    );
}

#[test]
fn unified_is_what_patch_takes() {
    for [a, b] in PAIRS {
        let patch = text(&[a, b, "--unified"]);
        let names = format!("--- {a}/src/main.rs\n+++ {b}/src/main.rs\n@@ ");
        assert!(patch.starts_with(&names), "{patch}");
        assert_eq!(patched(&stage(a), &patch), stage(b), "{a} {b}");
    }
}

#[test]
fn unified_is_what_patch_takes_at_the_edges_too() {
    let texts = [
        "",
        "one\n",
        "one",
        "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n",
        "zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nten",
        "one\r\ntwo\n\u{1b}[31mthree\u{7}\n\tfour\nfive\nsix\nseven\neight\nnine\n",
    ];
    for old in texts {
        for new in texts.iter().filter(|new| **new != old) {
            let files = Files::new(&[("the old one", old), ("new", new)]);
            for context in ["0", "1", "3", "18446744073709551615"] {
                let args = [&files.path("the old one"), &files.path("new"), "--context", context];
                let patch = text(&args);
                assert_eq!(patched(old, &patch), *new, "{old:?} {new:?} {context}\n{patch}");
            }
        }
    }
}

#[test]
fn unified_counts_lines_as_diff_does() {
    let old = "one\ntwo\nthree\n";
    let files = Files::new(&[("old", old), ("a b", "one\ntwo\nmore\nthree\n"), ("empty", "")]);
    let hunk = |a, b| {
        let patch = text(&[&files.path(a), &files.path(b), "-U", "0"]);
        patch.lines().nth(2).unwrap().to_string()
    };
    assert_eq!(hunk("old", "a b"), "@@ -2,0 +3 @@ two");
    assert_eq!(hunk("a b", "old"), "@@ -3 +2,0 @@ two");
    assert_eq!(hunk("empty", "old"), "@@ -0,0 +1,3 @@");
    let named = text(&[&files.path("old"), &files.path("a b")]);
    assert!(named.contains("/old\n+++ ") && named.contains("/a b\t\n@@"), "{named}");
}

#[test]
fn stat_counts_what_diff_counts() {
    for [a, b] in PAIRS {
        let (old, new) = (stage(a), stage(b));
        let (added, removed) = fewest(&old, &new);
        let (before, after) = (old.lines().count(), new.lines().count());
        let stat = text(&[a, b, "--stat"]);
        let expected = format!(
            "{a}/src/main.rs → {b}/src/main.rs\n\nlines      {before} → {after}\n\
             added      {added}\nremoved    {removed}\nunchanged  {}, ",
            after - added
        );
        assert!(stat.starts_with(&expected), "{expected}{stat}");
        let items = stat.rsplit("\n\n").next().unwrap();
        let sum = |sign| {
            let numbers = items.split_whitespace().filter_map(|word| word.strip_prefix(sign));
            numbers.map(|number| number.parse::<usize>().unwrap()).sum::<usize>()
        };
        assert_eq!((sum('+'), sum('-')), (added, removed), "{items}");
    }
}

#[test]
fn stat_names_the_items_that_changed() {
    let old = "\
//! One.

#![deny(one)]

use std::io;

/// Doc.
const A: &str =
    \"a\";

pub(crate) struct Gone(
    u8,
);

// How.
impl<T> From<T> for Kept {
    fn from() {}
}

#[test]
pub async fn first(
    a: A,
) {
    one();
}

struct Lone;

fn last() {}
";
    let new = old
        .replace("One", "Two")
        .replace("deny(one)", "deny(two)")
        .replace("io;\n", "io;\nuse std::fs;\n")
        .replace("Doc", "More")
        .replace("\"a\"", "\"b\"")
        .replace("pub(crate) struct Gone(\n    u8,\n);\n\n", "")
        .replace("struct Lone;\n\n", "")
        .replace("How", "Why")
        .replace("#[test]", "#[test]\n#[ignore]")
        .replace("one();", "two();");
    let files = Files::new(&[("a.rs", old), ("b.rs", &new), ("b.py", &new)]);
    let stat = text(&[&files.path("a.rs"), &files.path("b.rs"), "--stat"]);
    let items = "\
header                      +1   -1
use                         +2   -1
const A                     +2   -2
struct Gone                      -3
impl<T> From<T> for Kept    +1   -2
fn first                    +2   -1
struct Lone                      -2
";
    let (head, found) = stat.rsplit_once("\n\n").unwrap();
    assert_eq!(found, items);
    assert!(head.contains("\nunchanged  "), "{head}");
    let of_others = text(&[&files.path("a.rs"), &files.path("b.py"), "--stat"]);
    assert!(!of_others.contains("header"), "{of_others}");
}

#[test]
fn side_by_side_pairs_similar_lines() {
    let old = "fn f() {\n    let a = one();\n    gone();\n    send(a, first);\n}\n";
    let new =
        "fn f() {\n    // Why.\n    let mut b = 1;\n    let a = two();\n    send(a, second);\n}\n";
    let files = Files::new(&[("a", old), ("b", new)]);
    let page = files.side_by_side("60");
    let expected = "\
1 fn f() {                     1 fn f() {
                             > 2     // Why.
                             > 3     let mut b = 1;
2     let a = one();         | 4     let a = two();
3     gone();                <
4     send(a, first);        | 5     send(a, second);
5 }                            6 }
";
    assert_eq!(page.split_once("\n\n").unwrap().1, expected);
}

#[test]
fn side_by_side_wraps_lines_by_their_width_on_a_screen() {
    let old = "ｗｉｄｅ ｗｉｄｅ ｗｉｄｅ ｗｉｄｅ\n👩‍🔬e\u{301}👩‍🔬e\u{301}👩‍🔬e\u{301}👩‍🔬e\u{301}👩‍🔬e\u{301}👩‍🔬e\u{301}\n\ttab\x1b[2J\n";
    let new = "    call(argument).and_then(another)\nno end";
    let files = Files::new(&[("a", old), ("b", new)]);
    let page = files.side_by_side("44");
    let expected = "\
1 ｗｉｄｅ ｗｉｄｅ  | 1     call(argument)
      ｗｉｄｅ       |           .and_then(
      ｗｉｄｅ       |           another)
2 👩‍🔬e\u{301}👩‍🔬e\u{301}👩‍🔬e\u{301}👩‍🔬e\u{301}👩‍🔬e\u{301}👩‍🔬e\u{301} | 2 no end (no
                     |       newline)
3     tab\\u{1b}[2J   <
";
    assert_eq!(page.split_once("\n\n").unwrap().1, expected);
    for line in page.lines() {
        assert!(line.width() <= 44, "{line}");
    }
}

#[test]
fn side_by_side_leaves_out_equal_lines() {
    let old = (1..=20).map(|n| format!("line {n}\n")).collect::<Vec<_>>().concat();
    let new = old.replace("line 4\n", "line four\n").replace("line 12\n", "line twelve\n");
    let files = Files::new(&[("a", &old), ("b", &new)]);
    let page = files.side_by_side("60");
    let numbers: Vec<_> = page.lines().skip(2).map(|line| line[..2].trim()).collect();
    let shown: Vec<_> = (1..=15).map(|n| n.to_string()).chain(["..".into()]).collect();
    assert_eq!(numbers, shown, "{page}"); // a single line between two changes is not left out
    assert!(page.ends_with("\n... 5 equal lines\n"), "{page}");
    let args = [&files.path("a"), &files.path("b"), "-y", "--whole"];
    let whole = text(&args);
    assert_eq!(whole.lines().count(), 22, "{whole}");
}

#[test]
fn changed_words_are_marked() {
    let old = "    let a = thread::sleep(pause);\nindented\nkeep the last three words\n\
               remaining differences\nall of this is gone\n";
    let new = "    let a = task::sleep(pause).await;\n  indented\n    keep the last two lines\n\
               remaining replacement\nnothing here resembles that\n";
    let files = Files::new(&[("a", old), ("b", new)]);
    let (went, came) = ("\x1b[1m\x1b[7m\x1b[31m", "\x1b[1m\x1b[7m\x1b[32m");
    for layout in ["-u", "-y"] {
        let page = text(&[&files.path("a"), &files.path("b"), layout, "--color", "always"]);
        for word in [
            format!("{went}thread\x1b[0m"),
            format!("{came}task\x1b[0m"),
            format!("{came}.await\x1b[0m"),
            format!("{came}  \x1b[0m\x1b[32mindented\x1b[0m"),
            format!("{went}three words\x1b[0m"),
            format!("{came}two lines\x1b[0m"),
            "\x1b[31mremaining differences\x1b[0m".to_string(),
            "\x1b[31mall of this is gone\x1b[0m".to_string(),
            "\x1b[32mnothing here resembles that\x1b[0m".to_string(),
        ] {
            assert!(page.contains(&word), "{word:?} is not in {page:?}");
        }
        assert_eq!(page.matches(went).count() + page.matches(came).count(), 6, "{page:?}");
    }
}

#[test]
fn colour_changes_nothing_else_and_ends_with_each_line() {
    for [a, b] in PAIRS {
        for args in [&["-u"][..], &["-y"], &["-y", "--width", "80"], &["--stat"]] {
            let args = [&[a, b], args].concat();
            let page = text(&[&args[..], &["--color", "always"]].concat());
            let bare = anstream::adapter::strip_str(&page).to_string();
            let trimmed =
                |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
            assert_eq!(trimmed(&bare), trimmed(&text(&args)));
            for line in page.lines() {
                let last = line.rfind("\x1b[");
                assert!(last.is_none_or(|at| line[at..].starts_with("\x1b[0m")), "{line:?}");
            }
        }
    }
    assert!(!text(&["echo-uni", "echo-multi"]).contains('\x1b'));
}

#[test]
fn colour_follows_the_environment() {
    let coloured = |name: &str, args: &[&str]| {
        let mut command = tincan(&[&["echo-uni", "echo-multi"], args].concat());
        let done = end(command.env(name, "1"));
        String::from_utf8(done.stdout).unwrap().contains('\x1b')
    };
    assert!(coloured("CLICOLOR_FORCE", &[]));
    assert!(!coloured("CLICOLOR_FORCE", &["--color", "never"]));
    assert!(!coloured("NO_COLOR", &[]));
}

#[test]
fn equal_texts_are_reported_as_the_same() {
    let files = Files::new(&[("a", "one\n"), ("b", "one\n")]);
    let (a, b) = (files.path("a"), files.path("b"));
    for layout in ["-u", "-y", "--stat"] {
        assert_eq!(text(&[&a, &b, layout]), format!("{a} and {b} are the same.\n"));
    }
}

#[test]
fn a_name_is_a_server_and_a_path_is_a_file() {
    let files = Files::new(&[("echo-uni", "mine\n"), ("own/src/main.rs", "mine too\n")]);
    let shown = |args: &[&str]| {
        let done = end(tincan(args).current_dir(files.0.path()));
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let [uni, multi] = [stage("echo-uni"), stage("echo-multi")];
    assert_eq!(patched(&uni, &shown(&["echo-uni", "echo-multi"])), multi);
    assert_eq!(patched("mine\n", &shown(&["./echo-uni", "echo-multi"])), multi);
    assert_eq!(patched("mine too\n", &shown(&["own", "echo-uni"])), uni);
}

#[test]
fn an_unreadable_text_is_named() {
    let five = "echo-uni, echo-multi, chat-threads, chat-poll, chat-async";
    assert_refused(&["echo-duo", "echo-uni"], &["no server or file `echo-duo`", five]);
    assert_refused(&["echo-uni", "no/such.py"], &["no file `no/such.py`", five]);
    let files = Files::new(&[("folder/x", "")]);
    assert_refused(&[&files.path("folder"), "echo-uni"], &["without a src/main.rs"]);
    fs::write(files.0.path().join("bytes"), b"\xff\n").unwrap();
    assert_refused(&[&files.path("bytes"), "echo-uni"], &["bytes is not UTF-8 text"]);
    for args in [&["-y", "-u"][..], &["--stat", "-y"], &["a", "b", "c"], &["--width", "x"]] {
        assert_eq!(end(&mut tincan(args)).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn each_run_prints_the_same() {
    for args in [&[][..], &["chat-poll"], &["chat-poll", "-y"], &["chat-poll", "--stat"]] {
        assert_eq!(text(args), text(args));
    }
}

#[test]
fn a_closed_output_is_not_an_error() {
    for colour in ["always", "never"] {
        let child = tincan(&["chat-threads", "chat-poll", "--color", colour])
            .stdout(pipe_without_reader().unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let done = within_time(move || child.wait_with_output().unwrap());
        assert!(done.status.success(), "{done:?}");
        assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    }
}

fn tincan(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
    command.arg("diff").args(args).stdin(Stdio::null());
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PAGER", "LESS"] {
        command.env_remove(name);
    }
    command
}

fn end(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    within_time(move || child.wait_with_output().unwrap())
}

fn within_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    result.recv_timeout(TIMEOUT).expect("tincan diff should have ended")
}

fn text(args: &[&str]) -> String {
    let done = end(&mut tincan(args));
    assert!(done.status.success(), "{args:?}: {done:?}");
    assert!(done.stderr.is_empty(), "{args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn assert_refused(args: &[&str], expected: &[&str]) {
    let done = end(&mut tincan(args));
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{args:?}: {said}");
    assert!(done.stdout.is_empty(), "{args:?}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in expected {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
}

fn stage(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    fs::read_to_string(root.join(name).join("src/main.rs")).unwrap()
}

fn patched(old: &str, patch: &str) -> String {
    diffy::apply(old, &diffy::Patch::from_str(patch).unwrap()).unwrap()
}

/// Returns the fewest lines that can be added and removed, by the longest common subsequence.
fn fewest(old: &str, new: &str) -> (usize, usize) {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in 0..old.len() {
        for j in 0..new.len() {
            common[i + 1][j + 1] = match old[i] == new[j] {
                true => common[i][j] + 1,
                false => common[i][j + 1].max(common[i + 1][j]),
            };
        }
    }
    let common = common[old.len()][new.len()];
    (new.len() - common, old.len() - common)
}

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path: PathBuf = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Files(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_string()
    }

    fn side_by_side(&self, width: &str) -> String {
        text(&[&self.path("a"), &self.path("b"), "--side-by-side", "--width", width])
    }
}
