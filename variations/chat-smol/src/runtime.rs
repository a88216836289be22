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
    use std::io;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;
    use std::time::Duration;

    use smol::{Executor, Task, Timer};

    pub use smol::future::yield_now;

    /// The tasks that have something to do. `smol::spawn` has one too, with one thread to run it unless
    /// the environment says otherwise (`SMOL_THREADS`); async-std has a thread for each processor.
    static EXECUTOR: Executor<'_> = Executor::new();

    /// Runs a future to its end in this thread, and meanwhile the tasks in as many threads as there
    /// are processors.
    pub fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            thread::Builder::new().name("executor".to_owned()).spawn(run_tasks)?;
        }
        Ok(smol::block_on(future))
    }

    fn run_tasks() {
        loop {
            // A panic ends its task; the thread has others.
            let run = || smol::block_on(EXECUTOR.run(smol::future::pending::<()>()));
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
