//! Functions that are left in the middle and gone on with later: two demonstrations.
//!
//! Each prints who runs when; nothing is read and nobody connects. What goes on with a function is
//! `poll`, called by hand here, and by a loop in `calc-reactor`. That is all the difference.
//!
//! Run it:      `cargo run -p calc --bin generators`
//! Compare:     `src/reactor.rs`, where several such functions take turns.
//! Bad at:      waiting. The waker wakes nobody, so a function goes on when `main` says so.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use anyhow::Result;
use calc::give_way;
use clap::Parser;
use tincanchat::cli::{Failure, say};

/// Two demonstrations of functions that are left in the middle and gone on with later
#[derive(Parser)]
#[command(version)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " | less"))]
struct Args;

fn main() -> Result<(), Failure> {
    Args::parse();
    take_from_a_function()?;
    say("\n")?;
    give_to_a_function()?;
    Ok(())
}

/// Where a function and the one that goes on with it leave something for each other.
type Slot = Cell<Option<u32>>;

/// Goes on with a function until it is left again, or ends.
fn go_on<T>(function: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    function.poll(&mut Context::from_waker(Waker::noop()))
}

fn take_from_a_function() -> Result<()> {
    say("A function that gives: a generator\n")?;
    let slot = Slot::default();
    let mut generator = pin!(doubles(&slot));
    say("main: has called it, and nothing has happened\n")?;
    loop {
        say("main: asks for a number\n")?;
        match go_on(generator.as_mut()) {
            Poll::Pending => say(&format!("main: takes {}\n", slot.take().unwrap_or_default()))?,
            Poll::Ready(end) => {
                say("main: there is none: it has ended\n")?;
                return end;
            }
        }
    }
}

async fn doubles(slot: &Slot) -> Result<()> {
    for i in 0..3 {
        say(&format!("  doubles: gives {}, and is left; i is {i}\n", i * 2))?;
        slot.set(Some(i * 2));
        give_way().await; // other languages write: yield i * 2
        say(&format!("  doubles: goes on; i is still {i}\n"))?;
    }
    say("  doubles: ends\n")
}

fn give_to_a_function() -> Result<()> {
    say("A function that takes: a coroutine, and one that it calls\n")?;
    let slot = Slot::default();
    let mut coroutine = Box::pin(process(&slot));
    for i in 0..3 {
        say(&format!("main: goes on with it, and gives {i}\n"))?;
        slot.set(Some(i));
        if let Poll::Ready(end) = go_on(coroutine.as_mut()) {
            return end;
        }
        say("main: is back, as both have been left\n")?;
    }
    say("main: drops it, in the middle\n")?;
    drop(coroutine);
    say("main: ends\n")
}

async fn process(slot: &Slot) -> Result<()> {
    let _goodbye = Goodbye;
    loop {
        let number = read_number(slot).await?;
        say(&format!("  process: has got {number}\n"))?;
    }
}

async fn read_number(slot: &Slot) -> Result<u32> {
    loop {
        if let Some(number) = slot.take() {
            say(&format!("    read_number: finds {number}, and returns it\n"))?;
            return Ok(number);
        }
        say("    read_number: finds nothing, and is left\n")?;
        give_way().await; // and with it whoever awaits it
        say("    read_number: goes on\n")?;
    }
}

/// The variables of a function that is dropped in the middle are dropped as at its end.
struct Goodbye;

impl Drop for Goodbye {
    fn drop(&mut self) {
        let _ = say("  process: its variables are dropped\n");
    }
}
