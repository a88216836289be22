//! Runs the fuzzer's check on its corpus: the inputs from which it starts, and those that it has found.

#[path = "../fuzz/check.rs"]
mod check;

#[test]
fn every_input_of_the_corpus_passes() -> std::io::Result<()> {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/message");
    let mut count = 0;
    for file in std::fs::read_dir(corpus)? {
        let path = file?.path();
        println!("{}", path.display()); // shown if the test fails
        check::check(&std::fs::read(&path)?);
        count += 1;
    }
    assert!(count >= 26, "only {count} files");
    Ok(())
}
