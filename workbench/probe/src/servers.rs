//! Lists the servers of this project. All tools use this list.
//!
//! `cargo tincan servers` prints it. The gates in `.ci` read a copy, `.ci/servers.json`, because they run
//! before anything is built; a test compares the copy with this list.

/// A server of this project.
#[derive(Clone, Copy, Debug)]
pub struct ServerInfo {
    /// The name of the program.
    pub name: &'static str,
    /// The package that contains it.
    pub package: &'static str,
    /// The file with its `main`, relative to the workspace.
    pub source: &'static str,
    /// Whether it is one of the five stages. The others are variations.
    pub is_stage: bool,
    /// Its behaviour when it receives a message.
    pub behaviour: Behaviour,
    /// The profile of `cargo tincan check` that it passes, if there is one.
    pub profile: Option<&'static str>,
    /// The port on which it listens by default.
    pub port: u16,
    /// The server to compare it with.
    pub compared_with: Option<Comparison>,
    /// Whether its clients use TLS.
    pub is_tls: bool,
    /// Whether it needs a NATS server.
    pub needs_nats: bool,
}

/// The behaviour of a server when it receives a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It answers each tin-can message (text that is ended by a zero byte), and closes the connection.
    Echo,
    /// It relays each tin-can message to all clients.
    Chat,
    /// It has another protocol.
    Other,
}

impl Behaviour {
    /// Returns the name of the behaviour.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Chat => "chat",
            Self::Other => "other",
        }
    }
}

/// A server that another one is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// The name of the server.
    pub server: &'static str,
    /// The change from that server to this one, if this one was made from a copy of it. Then the common items are in
    /// the same order, which `.ci/stage-gate` checks, and a diff is easy to read.
    pub change: Option<&'static str>,
}

/// All servers: the stages in reading order, then the variations.
pub const SERVERS: &[ServerInfo] = &[
    ServerInfo {
        profile: Some("echo-uni"),
        ..stage("echo-uni", "echo-uni/src/main.rs", Behaviour::Echo)
    },
    ServerInfo {
        profile: Some("echo-multi"),
        compared_with: Some(made_from(
            "echo-uni",
            "The accept loop hands each client to a thread of its own.",
        )),
        ..stage("echo-multi", "echo-multi/src/main.rs", Behaviour::Echo)
    },
    ServerInfo {
        profile: Some("chat-threads"),
        compared_with: Some(made_from(
            "echo-multi",
            "Clients stay connected and get each other's messages: one table, one lock; a queue and a \
             second thread for each client.",
        )),
        ..stage("chat-threads", "chat-threads/src/main.rs", Behaviour::Chat)
    },
    ServerInfo {
        profile: Some("chat-poll"),
        compared_with: Some(made_from(
            "chat-threads",
            "One loop replaces the threads: it waits for all sockets, and keeps in a table what a thread \
             kept on its stack.",
        )),
        ..stage("chat-poll", "chat-poll/src/main.rs", Behaviour::Chat)
    },
    ServerInfo {
        profile: Some("chat-async"),
        compared_with: Some(made_from(
            "chat-threads",
            "Threads become tasks, and a call that blocked is followed by .await.",
        )),
        ..stage("chat-async", "chat-async/src/main.rs", Behaviour::Chat)
    },
    ServerInfo {
        behaviour: Behaviour::Echo,
        compared_with: Some(comparison("echo-multi")),
        ..variation("echo-mixins", "echo-mixins", "variations/echo-mixins/src/main.rs", 8800)
    },
    ServerInfo {
        compared_with: Some(comparison("echo-uni")),
        ..variation(
            "echo-once-server",
            "echo-select",
            "variations/echo-select/src/bin/echo-once-server.rs",
            65432,
        )
    },
    ServerInfo {
        profile: Some("echo-select"),
        compared_with: Some(comparison("chat-poll")),
        ..variation(
            "multiconn-server",
            "echo-select",
            "variations/echo-select/src/bin/multiconn-server.rs",
            65432,
        )
    },
    ServerInfo {
        profile: Some("app-protocol"),
        compared_with: Some(comparison("chat-poll")),
        ..variation(
            "app-server",
            "app-protocol",
            "variations/app-protocol/src/bin/app-server.rs",
            65432,
        )
    },
    ServerInfo {
        compared_with: Some(comparison("calc-blocking")),
        ..variation("line-echo", "calc", "variations/calc/src/bin/line-echo.rs", 8080)
    },
    ServerInfo {
        compared_with: Some(comparison("calc-reactor")),
        ..variation("calc-blocking", "calc", "variations/calc/src/bin/calc-blocking/main.rs", 8080)
    },
    ServerInfo {
        profile: Some("calc"),
        compared_with: Some(comparison("calc-blocking")),
        ..variation("calc-reactor", "calc", "variations/calc/src/bin/calc-reactor/main.rs", 8080)
    },
    ServerInfo {
        compared_with: Some(comparison("tea-party")),
        ..variation("simple-chat", "tea-party", "variations/tea-party/src/bin/simple-chat.rs", 5005)
    },
    ServerInfo {
        profile: Some("tea-party"),
        compared_with: Some(comparison("simple-chat")),
        ..variation(
            "tea-party",
            "tea-party",
            "variations/tea-party/src/bin/tea-party/main.rs",
            5005,
        )
    },
    ServerInfo {
        profile: Some("chat-select"),
        compared_with: Some(comparison("chat-poll")),
        ..variation("chat-select", "chat-select", "variations/chat-select/src/main.rs", 8800)
    },
    ServerInfo {
        compared_with: Some(comparison("chat-poll")),
        ..variation("web-epoll", "web-epoll", "variations/web-epoll/src/main.rs", 8800)
    },
    ServerInfo {
        compared_with: Some(comparison("chat-async")),
        ..variation(
            "echo-framework",
            "echo-framework",
            "variations/echo-framework/src/main.rs",
            8800,
        )
    },
    ServerInfo {
        profile: Some("chat-async"),
        compared_with: Some(made_from(
            "chat-threads",
            "Threads become green threads: the same calls, and one thread that switches stacks.",
        )),
        ..chat("chat-green", "variations/chat-green/src/main.rs")
    },
    ServerInfo {
        profile: Some("chat-async"),
        compared_with: Some(made_from(
            "chat-async",
            "The runtime changes: smol, the successor of async-std.",
        )),
        ..chat("chat-smol", "variations/chat-smol/src/main.rs")
    },
    ServerInfo {
        profile: Some("chat-async"),
        compared_with: Some(made_from(
            "chat-async",
            "Each connection begins with a TLS handshake, and is encrypted from then on.",
        )),
        is_tls: true,
        ..chat("chat-tls", "variations/chat-tls/src/main.rs")
    },
    ServerInfo {
        profile: Some("chat-async"),
        compared_with: Some(made_from(
            "chat-async",
            "One thread; the kernel does the reads and writes, and owns their buffers until they are done.",
        )),
        ..chat("chat-uring", "variations/chat-uring/src/main.rs")
    },
    ServerInfo {
        compared_with: Some(made_from(
            "chat-async",
            "Many machines share one chat: a NATS server carries each message, and makes the order.",
        )),
        needs_nats: true,
        ..chat("chat-nats", "variations/chat-nats/src/main.rs")
    },
];

const fn stage(name: &'static str, source: &'static str, behaviour: Behaviour) -> ServerInfo {
    ServerInfo { is_stage: true, behaviour, ..variation(name, name, source, 4040) }
}

const fn chat(name: &'static str, source: &'static str) -> ServerInfo {
    ServerInfo { behaviour: Behaviour::Chat, ..variation(name, name, source, 4040) }
}

const fn variation(
    name: &'static str,
    package: &'static str,
    source: &'static str,
    port: u16,
) -> ServerInfo {
    ServerInfo {
        name,
        package,
        source,
        is_stage: false,
        behaviour: Behaviour::Other,
        profile: None,
        port,
        compared_with: None,
        is_tls: false,
        needs_nats: false,
    }
}

const fn comparison(name: &'static str) -> Comparison {
    Comparison { server: name, change: None }
}

const fn made_from(name: &'static str, change: &'static str) -> Comparison {
    Comparison { server: name, change: Some(change) }
}

/// Returns the stages, in reading order.
pub fn stages() -> impl Iterator<Item = &'static ServerInfo> {
    SERVERS.iter().filter(|server| server.is_stage)
}

/// Returns the server with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static ServerInfo> {
    SERVERS.iter().find(|server| server.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn names_are_unique_and_comparisons_name_servers() {
        let mut names = HashSet::new();
        for server in SERVERS {
            assert!(names.insert(server.name), "{} twice", server.name);
            if let Some(Comparison { server: other, .. }) = server.compared_with {
                assert!(find(other).is_some_and(|it| it.name != server.name), "{}", server.name);
            }
        }
    }

    #[test]
    fn each_source_is_there_and_names_the_server_to_compare_it_with() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for server in SERVERS {
            let source = fs::read_to_string(root.join(server.source)).unwrap();
            let (_, rest) = source.split_once("//! Compare:").unwrap();
            if let Some(Comparison { server: other, .. }) = server.compared_with {
                let paragraph = rest.split("//! Bad at:").next().unwrap();
                assert!(paragraph.contains(&format!("`{other}`")), "{}: {paragraph}", server.name);
            }
        }
    }

    #[test]
    fn each_variation_has_a_server_in_the_list() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for folder in fs::read_dir(root.join("variations")).unwrap() {
            let package = folder.unwrap().file_name().into_string().unwrap();
            assert!(SERVERS.iter().any(|it| it.package == package), "no server of {package}");
        }
    }
}
