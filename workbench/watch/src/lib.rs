//! What each thread of a server does, sampled from `/proc` (Linux): lanes of time, drawn as text and
//! as SVG. The server needs no change, and does not notice that it is watched.
//!
//! | file | what |
//! |---|---|
//! | `state.rs` | what a thread can be doing, and how the kernel's words for it are read |
//! | `sample.rs` | looks at all threads |
//! | `lanes.rs` | keeps what was seen, in a bounded space |
//! | `text.rs`, `svg.rs` | draw it |
//! | `page.rs` | lays out an SVG file: title, lanes, times, legend, notes |
//! | `trace.rs`, `trace_svg.rs` | read and draw a trace, in which a server tells the same itself |
//! | `record.rs` | looks on from a thread of its own, while a check runs |

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
pub use legend::Seen;
pub use page::{About, SVG_BEGINS};
pub use probe::procfs::Whom;
pub use record::Recording;
pub use sample::{EVERY, Sampler, Sight, is_possible};
pub use state::State;
pub use svg::svg;
pub use text::{Frame, Picture, Span, picture};
pub use trace::Trace;
pub use trace_svg::trace_svg;
pub use wrap::{fit_to, wrap};
