//! A thread for each client.

use std::net::{TcpListener, TcpStream};
use std::thread;

use serverkit::{Permit, run_client, warn_not_started};
use tincanchat::STACK_SIZE;

use crate::server::{Mixin, handle_client};

/// The workers, each of which is a thread.
#[derive(Default)]
pub struct Threads {
    /// How many clients have been admitted so far. The latest thread has this number in its name.
    count: u64,
}

impl Mixin for Threads {
    fn process_request(
        &mut self,
        sock: TcpStream,
        permit: Permit,
        _listener: &mut Option<TcpListener>,
    ) {
        self.count += 1;
        let worker = format!("Thread-{}", self.count);
        let addr = permit.addr();
        let thread = thread::Builder::new().name(worker.clone()).stack_size(STACK_SIZE);
        // An error or a panic in the handler is logged (a panic with its place in the code), and ends this
        // client's connection only.
        let handler = move || run_client(permit, || handle_client(sock, addr, &worker));
        if let Err(err) = thread.spawn(handler) {
            warn_not_started(addr, "a thread", &err); // the socket is closed, the server goes on
        }
    }
}
