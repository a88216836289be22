//! Finds the items of a Rust file. Only looks at lines that start in the first column.

/// Returns, for each line, the item to which it belongs, such as `fn serve`. The lines between two items,
/// such as attributes, comments and blank lines, belong to the item below them.
pub fn items(lines: &[&str]) -> Vec<String> {
    let mut labels: Vec<Option<String>> = Vec::new();
    let mut open: Option<String> = None;
    for line in lines {
        let line = line.trim_end();
        let label = start(line);
        let is_first = label.is_some();
        open = label.or(open);
        labels.push(open.clone());
        if open.as_deref().is_some_and(|label| ends(label, line, is_first)) {
            open = None;
        }
    }
    let mut below = labels.iter().flatten().next_back().cloned().unwrap_or_default();
    for label in labels.iter_mut().rev() {
        below.clone_from(label.get_or_insert(below.clone()));
    }
    labels.into_iter().flatten().collect()
}

/// Reports whether an item ends with this line.
fn ends(label: &str, line: &str, is_first: bool) -> bool {
    let kind = label.split(' ').next().unwrap_or_default();
    match kind {
        "header" => true,
        "use" | "const" | "static" | "type" => line.ends_with(';'),
        _ if is_first => line.ends_with([';', '}']),
        _ => line.starts_with('}') || line.starts_with(");"),
    }
}

/// Returns the item that begins with this line. All `use` lines are one item, and so are the lines of the
/// header.
fn start(line: &str) -> Option<String> {
    if line.starts_with("//!") {
        return Some("header".to_string());
    }
    let mut rest = line;
    loop {
        let (word, after) = rest.split_once(' ')?;
        match word {
            "pub" | "pub(crate)" | "pub(super)" | "async" | "unsafe" | "default" => rest = after,
            "const" if after.starts_with("fn ") || after.starts_with("unsafe ") => rest = after,
            "use" => return Some("use".to_string()),
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" | "mod"
            | "macro_rules!" => {
                let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                return Some(format!("{word} {}", &after[..end.unwrap_or(after.len())]));
            }
            _ if word == "impl" || word.starts_with("impl<") => {
                let whole = rest.split(" where ").next().unwrap_or(rest);
                return Some(whole.trim_end_matches("{}").trim_end_matches('{').trim().to_string());
            }
            _ => return None,
        }
    }
}
