//! Numbers, places and colours in HTML and SVG.

use super::super::origin::Origin;
use super::super::servers::PROJECT_SERVERS;

/// Returns the colour class of a server: one for each stage, and one for all variations, all peers, and the
/// servers of the user. `page.css` has the colours.
pub fn colour(server: &str, origin: Origin) -> String {
    let mut stages = PROJECT_SERVERS.iter().filter(|it| it.is_stage);
    match (origin, stages.position(|stage| stage.name == server)) {
        (Origin::Project, Some(nth)) => format!("stage{nth}"),
        (Origin::Project, None) => "variation".to_owned(),
        (Origin::Peer, _) => "peer".to_owned(),
        (Origin::User, _) => "user".to_owned(),
    }
}

/// Keeps a number on one line with its unit.
pub fn unbroken(number: &str) -> String {
    number.replace(' ', "\u{a0}")
}

/// Writes a part of the whole width in percent.
pub fn percent(part: f64) -> String {
    let text = format!("{:.2}", part * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

/// Writes a length in pixels.
pub fn px(length: f64) -> String {
    let text = format!("{length:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_short() {
        assert_eq!(
            (percent(0.5), percent(1.0 / 3.0), px(3.0), px(2.25)),
            ("50%".into(), "33.33%".into(), "3".into(), "2.2".into())
        );
    }

    #[test]
    fn every_colour_is_in_the_style_in_both_schemes() {
        let style = include_str!("page.css");
        let project = PROJECT_SERVERS.iter().map(|server| colour(server.name, Origin::Project));
        let others = [Origin::Peer, Origin::User].map(|origin| colour("x", origin));
        for class in project.chain(others) {
            assert_eq!(style.matches(&format!(".{class} {{ --c:")).count(), 2, "{class}");
        }
    }
}
