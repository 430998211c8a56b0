//! The live page: three files in the binary, so that it works where there is no internet.
//!
//! Invariant: text from outside reaches the page's document only as text, never as markup; the
//! policy in [`guard`](crate::guard) would stop a script that slipped through.

use axum::{
    http::header::CONTENT_TYPE,
    response::{Html, IntoResponse},
};

const HTML: &str = include_str!("page/index.html");
const CSS: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const GRAPH: &str = include_str!("page/topology.js");

pub(crate) async fn html() -> impl IntoResponse {
    Html(HTML)
}

pub(crate) async fn css() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], CSS)
}

pub(crate) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)
}

pub(crate) async fn graph() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], GRAPH)
}

#[cfg(test)]
mod tests {
    use super::{CSS, GRAPH, HTML, SCRIPT};

    /// What the page may weigh, uncompressed.
    const MAX_BYTES: usize = 60_000;

    #[test]
    fn the_page_is_light_and_stands_alone() {
        let all = [HTML, CSS, SCRIPT, GRAPH];
        assert!(all.iter().map(|file| file.len()).sum::<usize>() <= MAX_BYTES);
        for file in all {
            let outside = file.replace("http://www.w3.org/", "");
            assert!(!outside.contains("//cdn") && !outside.contains("https://"));
            assert!(!outside.contains("http://"), "nothing comes from elsewhere");
        }
    }

    #[test]
    fn text_never_becomes_markup() {
        for script in [SCRIPT, GRAPH] {
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!script.contains(way), "{way}");
            }
        }
    }
}
