//! The parts that smol does differently from async-std, or leaves to the program, under their names in
//! async-std.
//!
//! Both runtimes are built from the same small crates, such as async-executor and async-io.

pub mod net {
    use smol::Async;

    /// A listener of std that does not block, and that the reactor watches.
    pub type TcpListener = Async<std::net::TcpListener>;

    /// A socket of std that does not block, and that the reactor watches.
    ///
    /// `smol::net::TcpStream` contains one. But it cannot be read or written through a shared reference, so
    /// each half of a client would need a clone of its own.
    pub type TcpStream = Async<std::net::TcpStream>;
}

pub mod task {
    use std::num::NonZero;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;
    use std::time::Duration;

    use anyhow::{Context as _, Result};
    use smol::future::pending;
    use smol::{Executor, Task, Timer};

    pub use smol::block_on;
    pub use smol::future::yield_now;

    /// The queue of the tasks that can continue.
    ///
    /// `smol::spawn` has a queue, too, but a single thread runs its tasks, unless the environment says
    /// otherwise (`SMOL_THREADS`).
    static EXECUTOR: Executor<'_> = Executor::new();

    /// Starts a thread for each processor, as async-std does. These threads run the tasks.
    pub fn start_threads() -> Result<()> {
        // smol starts the thread of its reactor, which waits for sockets and timers, in the first
        // `block_on`.
        block_on(async {});
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            thread::Builder::new()
                .name("executor".to_owned())
                .spawn(run_tasks)
                .context("cannot start a thread that runs tasks")?;
        }
        Ok(())
    }

    fn run_tasks() {
        loop {
            // A panic in a task ends the task and leaves `run`. The thread continues with the other tasks.
            let run = || block_on(EXECUTOR.run(pending::<()>()));
            let _ = catch_unwind(AssertUnwindSafe(run));
        }
    }

    /// Starts a task. Dropping the returned handle cancels the task, unlike in async-std; `detach` prevents
    /// that.
    pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        EXECUTOR.spawn(future)
    }

    pub async fn sleep(time: Duration) {
        Timer::after(time).await;
    }
}

pub mod future {
    use std::time::Duration;

    use smol::future::or;

    use super::task::sleep;

    /// The error of [`timeout`]: the time has passed, and the future has not ended.
    pub struct TimedOut;

    /// Waits until `future` ends, but not for longer than `time`.
    pub async fn timeout<F: Future>(time: Duration, future: F) -> Result<F::Output, TimedOut> {
        let time_is_over = async {
            sleep(time).await;
            Err(TimedOut)
        };
        // `or` polls its first future first: if both are ready, the result of `future` counts.
        or(async { Ok(future.await) }, time_is_over).await
    }
}
