//! Shows the states of a server's threads, sampled from `/proc` (Linux): lanes over time, drawn as text and as SVG.
//! The server does not have to be changed.
//!
//! | file | subject |
//! |---|---|
//! | `state.rs` | the states of a thread, and how they follow from system calls and kernel functions |
//! | `doing.rs` | reads the state of one thread |
//! | `sample.rs` | samples all threads of a server |
//! | `lanes.rs` | keeps the samples in bounded memory |
//! | `record.rs` | samples a server in a thread of its own, while a check runs |
//! | `text.rs`, `legend.rs` | draw lanes as text |
//! | `svg.rs` | draws lanes as SVG |
//! | `page.rs` | lays out an SVG file: title, lanes, times, legend, notes |
//! | `trace.rs`, `trace_svg/` | read and draw a trace that a server has recorded itself |
//! | `wrap.rs`, `numbers.rs` | fit text into columns; format counts and times |

mod doing;
mod lanes;
mod legend;
mod numbers;
mod page;
mod record;
mod sample;
mod state;
mod svg;
mod text;
mod trace;
mod trace_svg;
mod wrap;

pub use lanes::{Cell, Lane, Lanes};
pub use legend::Legend;
pub use page::{Caption, SVG_START};
pub use probe::procfs::Processes;
pub use record::Recording;
pub use sample::{INTERVAL, Sampler, Visibility, is_possible};
pub use state::State;
pub use svg::svg;
pub use text::{Drawing, Span, View, draw};
pub use trace::Trace;
pub use trace_svg::trace_svg;
pub use wrap::{join, truncate, wrap};
