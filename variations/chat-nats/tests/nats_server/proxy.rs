//! A proxy between a node and NATS.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// What a proxy does with its connections.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    Passes,
    /// It drops what NATS sends on the connections that there are, until it has closed them.
    DropsAnswers,
    /// It closes all connections, and each new connection at once.
    Closes,
}

pub struct Proxy {
    pub addr: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Ends the tasks when it is dropped.
    _runtime: Runtime,
}

impl Proxy {
    pub fn start(nats: SocketAddr) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let addr = listener.local_addr()?;
        let (mode, changes) = watch::channel(Mode::Passes);
        runtime.spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                if let Ok(nats) = TcpStream::connect(nats).await {
                    tokio::spawn(pass(node, nats, changes.clone()));
                }
            }
        });
        Ok(Self { addr, mode, _runtime: runtime })
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// Passes on the bytes between a node and NATS.
async fn pass(node: TcpStream, nats: TcpStream, mut mode: watch::Receiver<Mode>) {
    let (mut from_node, mut to_node) = node.into_split();
    let (mut from_nats, mut to_nats) = nats.into_split();
    let mut changes = mode.clone();
    let answers = async {
        tokio::select! {
            _ = changes.wait_for(|mode| *mode != Mode::Passes) => {}
            _ = io::copy(&mut from_nats, &mut to_node) => return,
        }
        let _ = io::copy(&mut from_nats, &mut io::sink()).await;
    };
    tokio::select! {
        _ = mode.wait_for(|mode| *mode == Mode::Closes) => {}
        _ = io::copy(&mut from_node, &mut to_nats) => {}
        () = answers => {}
    }
}
