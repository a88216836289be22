//! Which cores the server and the load generator run on.
//!
//! They must not take turns on one core: then what is measured is the scheduler. A child inherits
//! what the thread that starts it may use, so that thread goes to the server's cores for a moment.

/// Who runs where.
#[derive(Clone, Debug)]
pub struct Cores {
    /// The server's, and the generator's one; nothing if they share what there is.
    apart: Option<(Vec<usize>, usize)>,
    told: String,
}

impl Cores {
    /// Shares out the cores that this thread may use now: one to the generator, and to the server
    /// all others, or just one.
    #[must_use]
    pub fn share_out(server_has_one: bool) -> Self {
        let allowed = match system::allowed() {
            Ok(allowed) => allowed,
            Err(why) => return Self::together(&format!("{why}: server and load generator shared")),
        };
        let Some((&generator, others)) = allowed.split_last().filter(|(_, rest)| !rest.is_empty())
        else {
            return Self::together("Server and load generator had to share");
        };
        let siblings = system::siblings(generator);
        let mut server = others.to_vec();
        if server_has_one {
            // One that has nothing in common with the generator's, if there is one.
            let is_apart = |core: &&usize| !siblings.contains(core);
            server = vec![*others.iter().find(is_apart).unwrap_or(&others[0])];
        }
        if let Err(why) = system::go_to(&[generator]).and_then(|()| system::go_to(&allowed)) {
            return Self::together(&format!("{why}: server and load generator shared"));
        }
        let mut told = format!(
            "The server had {}, the load generator core {generator}.",
            match server.as_slice() {
                [core] => format!("core {core}"),
                cores => format!("cores {}", ranges(cores)),
            }
        );
        if server.iter().all(|core| siblings.contains(core)) {
            told += " These are two threads of one core in hardware, so each slows the other down.";
        }
        Self { apart: Some((server, generator)), told }
    }

    fn together(why: &str) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = if count == 1 { "one core".to_owned() } else { format!("{count} cores") };
        let told = format!("{why} {cores}, so that the figures are worse than they could be.");
        Self { apart: None, told }
    }

    /// In sentences.
    #[must_use]
    pub fn told(&self) -> &str {
        &self.told
    }

    /// All that are used, if they were shared out.
    #[must_use]
    pub fn all(&self) -> Vec<usize> {
        self.apart
            .iter()
            .flat_map(|(server, generator)| server.iter().chain([generator]))
            .copied()
            .collect()
    }

    /// The calling thread, and all that it starts, is the generator from now on.
    pub fn enter_generators(&self) {
        if let Some((_, generator)) = &self.apart {
            // It could a moment ago; if not, the figures suffer, and their spread shows it.
            let _ = system::go_to(&[*generator]);
        }
    }

    /// What is started here runs on the server's cores.
    pub fn on_servers<T>(&self, start: impl FnOnce() -> T) -> T {
        if let Some((server, _)) = &self.apart {
            let _ = system::go_to(server);
        }
        let started = start();
        self.enter_generators();
        started
    }
}

/// Numbers in order, briefly: `0-2, 5`.
fn ranges(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = ranges.iter().map(|(first, last)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The numbers of such ranges.
fn numbers(ranges: &str) -> Vec<usize> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse().ok()?)
    };
    ranges.split(',').filter_map(range).flatten().collect()
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    pub fn allowed() -> Result<Vec<usize>, String> {
        let set = sched_getaffinity(None)
            .map_err(|err| format!("The system does not tell which cores there are ({err})"))?;
        Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
    }

    pub fn go_to(cores: &[usize]) -> Result<(), String> {
        let mut set = CpuSet::new();
        for core in cores {
            set.set(*core);
        }
        sched_setaffinity(None, &set)
            .map_err(|err| format!("The system does not let a program choose its cores ({err})"))
    }

    /// Those that share their hardware with this one, itself included.
    pub fn siblings(core: usize) -> Vec<usize> {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        super::numbers(&std::fs::read_to_string(path).unwrap_or_default())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    const WHY: &str = "On this system a program cannot choose its cores";

    pub fn allowed() -> Result<Vec<usize>, String> {
        Err(WHY.to_owned())
    }

    pub fn go_to(_cores: &[usize]) -> Result<(), String> {
        Err(WHY.to_owned())
    }

    pub fn siblings(_core: usize) -> Vec<usize> {
        super::numbers("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_and_read() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert_eq!(numbers("0-2, 5,7-8\n"), [0, 1, 2, 5, 7, 8]);
        assert_eq!(numbers(""), [0; 0]);
    }
}
