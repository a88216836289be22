//! A panic in the handler of one client ends this client's connection and no other.
//!
//! Builds the servers with the feature `failpoints`, makes the handler of one client panic, and looks at what
//! this client and the others receive, at the log, and at how the server ends. `tincanchat/src/failpoints.rs`
//! says where a handler can be made to panic.
//!
//! `cargo test --workspace` leaves this test out, because it builds every server. Run it, or the part of it
//! that is about one server, with
//!
//! ```sh
//! cargo test -p tincan --test panics
//! cargo test -p tincan --test panics -- chat-poll
//! ```

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use libtest_mimic::{Arguments, Trial};
use memchr::memmem;
use probe::server::{Launch, Server, Signal};
use probe::tls::TlsSettings;
use probe::wire::Client;
use probe::{TIMEOUT, cargo, report_skipped, wait_until};
use serde_json::json;
use tincanchat::{FrameError, error_reply};

/// A message that contains this text makes the handler that has received it panic.
const RECEIVE_TEXT: &str = "panic!";

/// A batch of this many bytes makes the handler that adds it to a queue panic.
const QUEUE_BYTES: usize = 1000;

/// A handler that has sent this many bytes with one write panics.
const SEND_BYTES: usize = 2000;

/// How many trials run at a time. In most of its time, a trial waits.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    let chats = CHATS.into_iter().map(|name| trial(name, move || judge_chat(name)));
    let services = services().into_iter().map(|it| trial(it.name, move || judge_service(&it)));
    libtest_mimic::run(&args, chats.chain(services).collect()).exit_code()
}

fn trial(name: &str, run: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, || run().map_err(|err| format!("{err:#}").into()))
}

/// Starts a server whose handlers panic as the constants above say.
fn start(package: &str, program: &str, args: &[&str], queue_bytes: usize) -> Result<Server> {
    let points = [
        format!("receive=return({RECEIVE_TEXT})"),
        format!("queue=return({queue_bytes})"),
        format!("send=return({SEND_BYTES})"),
    ];
    let launch = Launch::new(build(package, program)?, &[]).args(args);
    launch.env("FAILPOINTS", &points.join(";")).start()
}

/// Builds a server with fail points, and returns the path of the program. The program goes into a folder in
/// which it does not replace the one without fail points.
fn build(package: &str, program: &str) -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("no target folder")?;
    let own_target = target.join("failpoints");
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--locked", "--features", "serverkit/failpoints"]);
    cargo.args(["--package", package, "--bin", program, "--target-dir"]).arg(&own_target);
    // Other people's crates are the same as in the usual build, and are not compiled again.
    cargo.env("CARGO_BUILD_BUILD_DIR", target).current_dir(env!("CARGO_MANIFEST_DIR"));
    ensure!(cargo.status()?.success(), "{program} does not build");
    Ok(own_target.join("debug").join(format!("{program}{}", env::consts::EXE_SUFFIX)))
}

/// Lets clients talk to a server, then stops the server, which must end with exit code 0 and leave no
/// process behind. Adds the log to an error.
fn judge(mut server: Server, talk: impl FnOnce(&Server) -> Result<()>) -> Result<()> {
    let judged = talk(&server).and_then(|()| {
        server.signal(Signal::TERM)?;
        server.expect_exit("stopped the server, in which handlers have panicked")?;
        let left = server.leftover_processes();
        ensure!(left.is_empty(), "the server has left processes behind: {left:?}");
        Ok(())
    });
    judged.map_err(|err| anyhow!("{err:#}\nThe log:\n{}", server.log()))
}

/// Connects a client, and waits until the server has admitted it.
///
/// If the server is full, connects again, because the permit of a client becomes free a moment after the
/// connection has ended.
fn connect(server: &Server) -> Result<Client> {
    let mut admitted = None;
    wait_until(TIMEOUT, || {
        let client = Client::connect(server.addr())?;
        let admission = format!("Connection from {}", client.addr());
        let refusal = format!("{}: refused", client.addr());
        let decides = |line: &str| line.ends_with(&admission) || line.contains(&refusal);
        // Of many refusals, the log does not contain a line for each.
        let line = server.log().wait_for(Duration::from_secs(1), decides);
        if line.is_some_and(|line| line.ends_with(&admission)) {
            admitted = Some(client);
        }
        Ok(admitted.is_some())
    })?;
    admitted.context("the server is full: the permit of a client that is gone is still in use")
}

/// Waits until the panic of the handler at this fail point has ended the client's connection. The log must
/// name the fail point, and the client with the words `logged`.
fn expect_panic(server: &Server, client: &mut Client, point: &str, logged: &str) -> Result<()> {
    let (received, _) = client.recv_bytes_to_end()?;
    let is_answered = memmem::find(&received, RECEIVE_TEXT.as_bytes()).is_some();
    ensure!(!is_answered, "the message at which the handler panicked was answered");
    expect_log(server, ["panic at ", &format!("at the fail point \"{point}\"")])?;
    expect_log(server, [&format!("{}: ", client.addr()), logged])
}

/// Waits for a line of the log that contains both texts.
fn expect_log(server: &Server, parts: [&str; 2]) -> Result<()> {
    let wanted = format!("a line with {parts:?}");
    server.wait_for_log(&wanted, |line| parts.iter().all(|part| line.contains(part)))?;
    Ok(())
}

/// The servers that send each message to all other clients.
const CHATS: [&str; 8] = [
    "chat-threads",
    "chat-poll",
    "chat-async",
    "chat-green",
    "chat-smol",
    "chat-tls",
    "chat-uring",
    "chat-nats",
];

fn judge_chat(name: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().context("the path of the folder is not UTF-8")?;
    // With --others-only, a message can go to one client only.
    let mut args = vec!["--others-only", "--max-clients", "3"];
    let (nats, url);
    match name {
        "chat-tls" => args.extend(["--dev-cert", path]),
        "chat-nats" => {
            let Some(program) = nats_server() else {
                return report_skipped("nats-server is not installed");
            };
            let launch = Launch::new(program, &[]).args(&["-js", "-a", "127.0.0.1"]);
            nats = launch.args(&["-p", "{port}", "-sd", path]).start_on_free_port()?;
            url = format!("nats://{}", nats.addr());
            args.extend(["--nats", &url]);
        }
        _ => {}
    }
    // In chat-nats, one task of the node queues the messages. A client's handler queues only the reply to a
    // protocol error.
    let queues_only_reply = name == "chat-nats";
    let reply = error_reply(&FrameError::NotUtf8 { len: 1, valid_up_to: 0 });
    let queue_bytes = if queues_only_reply { reply.len() } else { QUEUE_BYTES };
    let server = start(name, name, &args, queue_bytes)?;
    let tls = match name {
        "chat-tls" => Some(TlsSettings::with_ca(&folder.path().join("ca.pem"))?),
        _ => None,
    };
    judge(server, |server| {
        let mut room = Room { server, tls, clients: Vec::new() };
        room.join()?;
        room.join()?;
        room.talk()?;

        room.join()?;
        room.last()?.send_msg(RECEIVE_TEXT)?;
        room.last_panics("receive")?;
        room.talk()?;

        room.join()?;
        let last = room.last()?;
        if queues_only_reply {
            last.send(b"\xff\0")?;
        } else {
            let text = text_of_batch(last.addr(), QUEUE_BYTES);
            last.send_msg(&text)?;
        }
        room.last_panics("queue")?;
        room.talk()?;

        // With two clients in the room, what the first one says goes to the second one only.
        let mut second = room.clients.pop().context("two clients")?;
        second.half_close()?;
        second.expect_eof()?;
        let addr = second.addr().to_string();
        drop(second);
        expect_log(server, [&format!("Client {addr}"), "disconnected"])?;
        room.join()?;
        let text = text_of_batch(room.clients[0].addr(), SEND_BYTES);
        room.clients[0].send_msg(&text)?;
        room.last_panics("send")?;
        room.join()?;
        room.join()?;
        room.talk()
    })
}

/// Returns the text of a message that, with the address of its sender, is a batch of this many bytes.
fn text_of_batch(sender: SocketAddr, bytes: usize) -> String {
    let rest = format!("{sender}: \0");
    "x".repeat(bytes - rest.len())
}

/// The path of the NATS server, if there is one. Debian installs it where only root looks for programs.
fn nats_server() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("nats-server")).find(|program| program.is_file())
}

/// Clients in a chat, each of which has received all messages of the others so far.
struct Room<'a> {
    server: &'a Server,
    tls: Option<TlsSettings>,
    clients: Vec<Client>,
}

impl Room<'_> {
    /// Adds a client, and waits until the others have received a message from it: then it receives theirs.
    fn join(&mut self) -> Result<()> {
        let mut client = connect(self.server)?;
        if let Some(tls) = &self.tls {
            client = client.start_tls(tls)?;
        }
        self.clients.push(client);
        match self.clients.len() {
            1 => Ok(()), // a message from it might reach the client that joins next
            n => self.say(n - 1, "hello"),
        }
    }

    /// Lets each client say something, and waits until all others have received it, and nothing else.
    fn talk(&mut self) -> Result<()> {
        (0..self.clients.len()).try_for_each(|sender| self.say(sender, "still there?"))
    }

    fn say(&mut self, sender: usize, text: &str) -> Result<()> {
        self.clients[sender].send_msg(text)?;
        let addr = self.clients[sender].addr();
        for (at, client) in self.clients.iter_mut().enumerate() {
            if at != sender {
                client.expect_msg(&format!("{addr}: {text}"))?;
            }
        }
        Ok(())
    }

    fn last(&mut self) -> Result<&mut Client> {
        self.clients.last_mut().context("the room is empty")
    }

    /// Waits until the handler of the client that joined last has panicked. The client leaves the room.
    fn last_panics(&mut self, point: &str) -> Result<()> {
        let mut client = self.clients.pop().context("the room is empty")?;
        expect_panic(self.server, &mut client, point, "its handler panicked")
    }
}

/// A server that answers each client by itself.
struct Service {
    name: &'static str,
    package: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    /// What a client sends to make its handler panic.
    panics_at: Vec<u8>,
    /// What another client sends, and a part of the answer.
    request: Vec<u8>,
    answer: &'static str,
    serves: Serves,
    /// What the log says about the client whose handler has panicked.
    logged: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Serves {
    /// Many clients at a time, and many requests of each.
    Many,
    /// Many clients at a time, and one request of each.
    ManyOnce,
    /// One client at a time.
    One,
}

impl Service {
    /// Describes a server whose name is also the name of its package. It answers `request` with a text that
    /// contains `request`, without the bytes that end it.
    fn new(name: &'static str, serves: Serves, panics_at: &[u8]) -> Self {
        Service {
            name,
            package: name,
            program: name,
            args: &[],
            panics_at: panics_at.to_vec(),
            request: String::from_utf8_lossy(panics_at).replace(RECEIVE_TEXT, TEXT).into(),
            answer: TEXT,
            serves,
            logged: "its handler panicked",
        }
    }
}

/// The message of a client whose handler must not panic.
const TEXT: &str = "still there?";

fn services() -> Vec<Service> {
    use Serves::{Many, ManyOnce, One};
    let mixin = |name, args| Service {
        package: "echo-mixins",
        program: "echo-mixins",
        args,
        ..Service::new(name, ManyOnce, b"panic!")
    };
    let sum = |name, serves, answer| Service {
        package: "calc",
        request: b"1,2\n".to_vec(),
        answer,
        ..Service::new(name, serves, b"panic!\n")
    };
    vec![
        Service::new("echo-uni", One, b"panic!\0"),
        Service::new("echo-multi", ManyOnce, b"panic!\0"),
        // The server learns only the exit code of the process that served the client.
        Service { logged: " failed", ..mixin("echo-mixins fork", &["--mixin", "fork"]) },
        mixin("echo-mixins thread", &["--mixin", "thread"]),
        Service { package: "echo-select", ..Service::new("multiconn-server", Many, b"panic!") },
        Service {
            package: "app-protocol",
            request: app_request("ring"),
            answer: "In the caves",
            ..Service::new("app-server", ManyOnce, &app_request("panic!"))
        },
        sum("calc-reactor", Many, "Sum of input integers: '3'"),
        sum("calc-blocking", One, "Sum of input numbers: '3'"),
        Service { package: "calc", ..Service::new("line-echo", One, b"panic!\n") },
        Service { package: "tea-party", ..Service::new("simple-chat", Many, b"panic!\r\n") },
        Service { answer: "Please log in", ..Service::new("tea-party", Many, b"panic!\r\n") },
        Service {
            args: &["--name", "server"],
            request: framed("NAME: somebody"),
            answer: "CLIENT: 127.0.0.1",
            ..Service::new("chat-select", ManyOnce, &framed("NAME: panic!"))
        },
        Service {
            request: http_get("/"),
            answer: "Hello from Epoll Server!",
            ..Service::new("web-epoll", Many, &http_get("/panic!"))
        },
        Service::new("echo-framework", Many, b"panic!\n"),
    ]
}

/// Returns a message of chat-select: the number of its bytes, and its text.
fn framed(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).expect("a short text");
    [&len.to_be_bytes(), text.as_bytes()].concat()
}

/// Returns a request of app-protocol: the number of bytes of the header, the header, and the content.
fn app_request(value: &str) -> Vec<u8> {
    let content = json!({"action": "search", "value": value}).to_string();
    let header = json!({
        "byteorder": "little",
        "content-type": "text/json",
        "content-encoding": "utf-8",
        "content-length": content.len(),
    });
    let header = header.to_string();
    let len = u16::try_from(header.len()).expect("a short header");
    [&len.to_be_bytes(), header.as_bytes(), content.as_bytes()].concat()
}

fn http_get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

fn judge_service(service: &Service) -> Result<()> {
    let mut args = service.args.to_vec();
    if service.serves != Serves::One {
        args.extend(["--max-clients", "2"]);
    }
    let server = start(service.package, service.program, &args, QUEUE_BYTES)?;
    judge(server, |server| {
        let mut waiting = match service.serves {
            Serves::One => None,
            Serves::Many | Serves::ManyOnce => Some(connect(server)?),
        };
        if let Some(client) = &mut waiting
            && service.serves == Serves::Many
        {
            expect_answer(client, service)?;
        }
        let mut failing = connect(server)?;
        failing.send(&service.panics_at)?;
        expect_panic(server, &mut failing, "receive", service.logged)?;
        // A new client gets the permit of the client whose handler has panicked.
        expect_answer(&mut connect(server)?, service)?;
        waiting.as_mut().map_or(Ok(()), |client| expect_answer(client, service))
    })
}

/// Sends a request, and waits for the answer.
fn expect_answer(client: &mut Client, service: &Service) -> Result<()> {
    client.send(&service.request)?;
    let answer = service.answer.as_bytes();
    let end = |received: &[u8]| memmem::find(received, answer).map(|at| at + answer.len());
    client.recv_when(service.answer, end)?;
    Ok(())
}
