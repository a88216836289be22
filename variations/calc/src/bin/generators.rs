//! Functions that stop in the middle and continue later: two demonstrations, without a network.
//!
//! Each demonstration prints a line whenever a function runs. A function that has stopped continues when
//! its method `poll` is called. Here, `main` calls it; in `calc-reactor`, an executor calls it in a loop.
//!
//! Run it:      `cargo run -p calc --bin generators`
//! Compare:     `src/reactor.rs`, where many such functions take turns.
//! Bad at:      waiting. Nothing reports when a function can continue: `main` decides when to poll it.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use anyhow::Result;
use calc::yield_now;
use clap::Parser;
use serverkit::{Failure, print_or_exit};

/// Two demonstrations of functions that stop in the middle and continue later
#[derive(Parser)]
#[command(version)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " | less"))]
struct Args;

fn main() -> Result<(), Failure> {
    Args::parse();
    receive_from_a_function()?;
    print_line("")?;
    pass_to_a_function()?;
    Ok(())
}

/// The place where a function and `main` leave a number for each other. A poll itself passes no number.
type Slot = Cell<Option<u32>>;

/// Runs a function until it ends or stops.
fn poll<T>(function: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    // This waker does nothing: `main` polls the function without being told to.
    function.poll(&mut Context::from_waker(Waker::noop()))
}

fn print_line(line: &str) -> Result<()> {
    print_or_exit(&format!("{line}\n"))
}

// ------------------------------------------------------------------------------------------------
// The first demonstration

fn receive_from_a_function() -> Result<()> {
    print_line("A function that yields numbers: a generator")?;
    let slot = Slot::default();
    let mut generator = pin!(doubles(&slot));
    print_line("main: has called doubles, and nothing in it has run yet")?;
    loop {
        print_line("main: polls doubles")?;
        match poll(generator.as_mut()) {
            Poll::Pending => {
                let number = slot.take().unwrap_or_default();
                print_line(&format!("main: receives {number}"))?;
            }
            Poll::Ready(end) => {
                print_line("main: doubles has ended, so there are no more numbers")?;
                return end;
            }
        }
    }
}

async fn doubles(slot: &Slot) -> Result<()> {
    for i in 0..3 {
        let number = i * 2;
        print_line(&format!("  doubles: i is {i}; yields {number} and stops"))?;
        slot.set(Some(number));
        yield_now().await; // other languages do both in one statement: yield number
        print_line(&format!("  doubles: continues; i is still {i}"))?;
    }
    print_line("  doubles: ends")
}

// ------------------------------------------------------------------------------------------------
// The second demonstration

fn pass_to_a_function() -> Result<()> {
    print_line("A function that receives numbers: a coroutine, which calls another one")?;
    let slot = Slot::default();
    let mut coroutine = Box::pin(process(&slot));
    for number in 0..3 {
        print_line(&format!("main: passes {number}, and polls process"))?;
        slot.set(Some(number));
        if let Poll::Ready(end) = poll(coroutine.as_mut()) {
            return end;
        }
        print_line("main: runs again, since both functions have stopped")?;
    }
    print_line("main: drops process, which has stopped in the middle")?;
    drop(coroutine);
    print_line("main: ends")
}

async fn process(slot: &Slot) -> Result<()> {
    let _variable = PrintsItsDrop;
    loop {
        let number = read_number(slot).await?;
        print_line(&format!("  process: has received {number}"))?;
    }
}

async fn read_number(slot: &Slot) -> Result<u32> {
    loop {
        if let Some(number) = slot.take() {
            print_line(&format!("    read_number: finds {number}, and returns it"))?;
            return Ok(number);
        }
        print_line("    read_number: finds no number, and stops")?;
        yield_now().await; // process, which awaits this function, stops with it
        print_line("    read_number: continues")?;
    }
}

/// Prints a line when it is dropped: dropping a function that has stopped drops its variables.
struct PrintsItsDrop;

impl Drop for PrintsItsDrop {
    fn drop(&mut self) {
        let _ = print_line("  process: its variables are dropped");
    }
}
