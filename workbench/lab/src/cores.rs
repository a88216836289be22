//! The cores on which the server and the load generator run.
//!
//! If they took turns on one core, the scheduler would be measured. A child process inherits the cores of
//! the thread that starts it, so that thread moves to the server's cores for a moment.

/// The cores of the server and of the load generator.
#[derive(Clone, Debug)]
pub struct Cores {
    /// The cores of the server, and the core of the generator; `None` if they share all cores.
    separate: Option<(Vec<usize>, usize)>,
    description: String,
}

impl Cores {
    /// Divides the cores that this thread may use: the generator gets one, and the server gets all others,
    /// or only one.
    #[must_use]
    pub fn divide(server_has_one: bool) -> Self {
        let allowed = match system::allowed() {
            Ok(allowed) => allowed,
            Err(why) => return Self::shared(&format!("{why}: server and load generator shared")),
        };
        let Some((&generator, others)) = allowed.split_last().filter(|(_, rest)| !rest.is_empty())
        else {
            return Self::shared("Server and load generator had to share");
        };
        let siblings = numbers(&system::siblings(generator));
        let mut server = others.to_vec();
        if server_has_one {
            // A core that shares no hardware with the generator's, if there is one.
            let is_separate = |core: &&usize| !siblings.contains(core);
            server = vec![*others.iter().find(is_separate).unwrap_or(&others[0])];
        }
        if let Err(why) = system::move_to(&[generator]).and_then(|()| system::move_to(&allowed)) {
            return Self::shared(&format!("{why}: server and load generator shared"));
        }
        let mut description = format!(
            "The server had {}, the load generator core {generator}.",
            match server.as_slice() {
                [core] => format!("core {core}"),
                cores => format!("cores {}", ranges(cores)),
            }
        );
        if server.iter().all(|core| siblings.contains(core)) {
            description +=
                " These are two threads of one core in hardware, so each makes the other slower.";
        }
        Self { separate: Some((server, generator)), description }
    }

    fn shared(why: &str) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = if count == 1 { "one core".to_owned() } else { format!("{count} cores") };
        let description = format!("{why} {cores}, so the figures are worse than they could be.");
        Self { separate: None, description }
    }

    /// Describes in sentences which cores the server and the generator have.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns how many cores the server may use.
    #[must_use]
    pub fn server_count(&self) -> usize {
        match &self.separate {
            Some((server, _)) => server.len(),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Returns all cores that are used, or an empty list if server and generator share all cores.
    #[must_use]
    pub fn all(&self) -> Vec<usize> {
        self.separate
            .iter()
            .flat_map(|(server, generator)| server.iter().chain([generator]))
            .copied()
            .collect()
    }

    /// Moves the calling thread, and the threads that it starts, to the generator's core.
    pub fn move_to_generator(&self) {
        if let Some((_, generator)) = &self.separate {
            // It was possible a moment ago. If it is not, the figures become worse, and their spread shows it.
            let _ = system::move_to(&[*generator]);
        }
    }

    /// Calls `start` on the server's cores, so that the process that it starts runs there.
    pub fn start_on_server<T>(&self, start: impl FnOnce() -> T) -> T {
        if let Some((server, _)) = &self.separate {
            let _ = system::move_to(server);
        }
        let started = start();
        self.move_to_generator();
        started
    }
}

/// Writes ascending numbers as ranges: `0-2, 5`.
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

/// Reads the numbers from ranges such as `0-2, 5`.
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
            .map_err(|err| format!("The system does not report its cores ({err})"))?;
        Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
    }

    pub fn move_to(cores: &[usize]) -> Result<(), String> {
        let mut set = CpuSet::new();
        for core in cores {
            set.set(*core);
        }
        sched_setaffinity(None, &set)
            .map_err(|err| format!("The system does not let a program choose its cores ({err})"))
    }

    /// Returns the cores that share their hardware with this one, including this one, as ranges: `0-2, 5`.
    pub fn siblings(core: usize) -> String {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    const WHY: &str = "On this system a program cannot choose its cores";

    pub fn allowed() -> Result<Vec<usize>, String> {
        Err(WHY.to_owned())
    }

    pub fn move_to(_cores: &[usize]) -> Result<(), String> {
        Err(WHY.to_owned())
    }

    pub fn siblings(_core: usize) -> String {
        String::new()
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
