//! What smol spells differently from async-std, under the names that `main.rs` knows.
//!
//! smol is a few small parts, of which async-std is made too: here they are put together by hand.

use std::net;

use smol::Async;

/// A socket of std that does not block, and a place in the reactor that says when it is ready.
///
/// `smol::net` has types of its own, but two halves of one client cannot share a reference to those.
pub type TcpListener = Async<net::TcpListener>;
pub type TcpStream = Async<net::TcpStream>;

pub mod task {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;
    use std::time::Duration;

    use anyhow::{Context as _, Result};
    use smol::{Executor, Task, Timer};
    use tincanchat::cli::start_runtime;

    pub use smol::future::yield_now;

    /// The tasks that have something to do. `smol::spawn` has one too, with one thread to run it unless
    /// the environment says otherwise (`SMOL_THREADS`); async-std has a thread for each processor.
    static EXECUTOR: Executor<'_> = Executor::new();

    pub use smol::block_on;

    /// Starts the threads: one that waits for sockets, which smol starts with the first future that has
    /// run to its end, and as many as there are processors, which run the tasks.
    pub fn start() -> Result<()> {
        start_runtime(|| block_on(async {}));
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let started = thread::Builder::new().name("executor".to_owned()).spawn(run_tasks);
            started.context("cannot start a thread that runs tasks")?;
        }
        Ok(())
    }

    fn run_tasks() {
        loop {
            // A panic ends its task; the thread has others.
            let run = || block_on(EXECUTOR.run(smol::future::pending::<()>()));
            let _ = catch_unwind(AssertUnwindSafe(run));
        }
    }

    /// Starts a task. If what this gives is dropped, the task is cancelled; async-std's goes on.
    pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        EXECUTOR.spawn(future)
    }

    pub async fn sleep(time: Duration) {
        Timer::after(time).await;
    }
}
