//! What a reader sees: the table in the terminal, the page for a browser, and `data.json` for programs.
//!
//! | file | subject |
//! |---|---|
//! | `answers_table.rs` | the answers, for a terminal |
//! | `answers_section.rs` | the answers on the page |
//! | `table.rs` | the table of one experiment, for a terminal |
//! | `page.rs`, `page.css` | the page |
//! | `section.rs` | one experiment on the page |
//! | `chart.rs`, `axis.rs` | the charts on the page |
//! | `html.rs` | numbers, places and colours in HTML and SVG |
//! | `remarks.rs` | faults, missing figures and notes |
//! | `data.rs` | `data.json` |

mod answers_section;
mod answers_table;
mod axis;
mod chart;
mod data;
mod html;
mod page;
mod remarks;
mod section;
mod table;

pub use answers_table::answers_table;
pub use data::data;
pub use page::page;
pub use table::table;
