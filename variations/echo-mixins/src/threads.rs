//! A thread for each client.

use std::net::{TcpListener, TcpStream};
use std::thread;

use tincanchat::STACK_SIZE;
use tincanchat::cli::{Seat, contain, warn_not_started};

use crate::server::{Mixin, handle_client};

/// How many there have been.
#[derive(Default)]
pub struct Threads {
    started: u64,
}

impl Mixin for Threads {
    fn process_request(
        &mut self,
        sock: TcpStream,
        seat: Seat,
        _listener: &mut Option<TcpListener>,
    ) {
        self.started += 1;
        let (worker, addr) = (format!("Thread-{}", self.started), seat.addr());
        let builder = thread::Builder::new().name(worker.clone()).stack_size(STACK_SIZE);
        let client = move || contain(seat, || handle_client(sock, addr, &worker));
        if let Err(err) = builder.spawn(client) {
            warn_not_started(addr, "a thread", &err);
        }
    }
}
