//! What the fuzzer starts from, and what it has found, once more without it.

#[path = "../fuzz/check.rs"]
mod check;

#[test]
fn the_corpus_breaks_nothing() -> std::io::Result<()> {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/message");
    let mut count = 0;
    for file in std::fs::read_dir(corpus)? {
        let path = file?.path();
        println!("{}", path.display()); // shown if it fails
        check::check(&std::fs::read(&path)?);
        count += 1;
    }
    assert!(count >= 26, "only {count} files");
    Ok(())
}
