//! A word a second on a terminal while a command takes its time.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Tells on stderr how far an import is, if that is a terminal; until it is dropped.
pub struct Progress {
    lines: Arc<AtomicUsize>,
    ticker: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts telling.
    pub fn start() -> Self {
        let lines = Arc::new(AtomicUsize::new(0));
        let ticker = io::stderr().is_terminal().then(|| {
            let (stop, stopped) = mpsc::channel();
            let lines = Arc::clone(&lines);
            (stop, thread::spawn(move || tick(&stopped, &lines)))
        });
        Self { lines, ticker }
    }

    /// So many lines have been read.
    pub fn tell(&self, lines: usize) {
        self.lines.store(lines, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, ticker)) = self.ticker.take() {
            drop(stop);
            // It only prints; whatever became of it is no concern of the command.
            let _ = ticker.join();
        }
    }
}

/// The sender's end ends it at once.
fn tick(stopped: &mpsc::Receiver<()>, lines: &AtomicUsize) {
    let mut seconds = 0;
    while stopped.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
        seconds += 1;
        let lines = lines.load(Ordering::Relaxed);
        // There is nobody to tell that stderr is gone.
        let _ = writeln!(io::stderr(), "{seconds} s, {lines} lines read");
    }
}
