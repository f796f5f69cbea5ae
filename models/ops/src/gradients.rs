//! Gradients: taken from the graph, kept without it.
//!
//! Of candle's `GradStore` three things are in the way of training: gradients may hold on to the
//! graph and all activations with it, those of frozen tensors are kept too, and walking and
//! dropping a deep graph overflows an ordinary stack.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use candle_core::{DType, Error, Result, Tensor, TensorId, Var};

/// Stack for walking the graph: candle recurses once or twice per operation, and 20 000 operations
/// overflow 2 MiB.
const STACK_BYTES: usize = 64 << 20;

/// Gradients of variables, off the graph.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    of: HashMap<TensorId, Tensor>,
}

impl Gradients {
    /// No gradients.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The gradient of a variable. `None` if the loss does not depend on it.
    #[must_use]
    pub fn get(&self, var: &Var) -> Option<&Tensor> {
        self.of.get(&var.as_tensor().id())
    }

    /// Adds to the gradient of a variable.
    ///
    /// # Errors
    /// When shapes or types differ.
    pub fn add(&mut self, var: &Var, gradient: &Tensor) -> Result<()> {
        let id = var.as_tensor().id();
        let sum = match self.of.get(&id) {
            Some(sum) => (sum + gradient)?,
            None => gradient.clone(),
        };
        self.of.insert(id, sum.detach());
        Ok(())
    }

    /// Puts a gradient in the place of that of a variable: for what an all-reduce returns.
    pub fn set(&mut self, var: &Var, gradient: &Tensor) {
        self.of.insert(var.as_tensor().id(), gradient.detach());
    }

    /// Adds all gradients of another pass, for micro-batches.
    ///
    /// # Errors
    /// When shapes or types differ.
    pub fn add_all(&mut self, vars: &[Var], other: &Self) -> Result<()> {
        for var in vars {
            if let Some(gradient) = other.get(var) {
                self.add(var, gradient)?;
            }
        }
        Ok(())
    }

    /// The Euclidean norm of the gradients of all these variables together, summed in double
    /// precision in the order given; for clipping (Pascanu et al., 2013).
    ///
    /// # Errors
    /// When candle fails.
    pub fn norm(&self, vars: &[Var]) -> Result<f64> {
        let squares = vars.iter().filter_map(|var| self.get(var)).map(square_sum);
        Ok(squares.sum::<Result<f64>>()?.sqrt())
    }
}

fn square_sum(gradient: &Tensor) -> Result<f64> {
    gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()
}

/// Where [`crate::checkpoint`]s leave gradients of the variables that they use inside. Clones share
/// what they hold.
#[derive(Clone, Debug, Default)]
pub struct GradSink {
    held: Arc<Mutex<Gradients>>,
}

impl GradSink {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&self, vars: &[Var], gradients: &Gradients) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.add_all(vars, gradients)
    }

    fn take(&self) -> Gradients {
        std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs backward from a loss and gives the gradients of `vars`, those in `sink` included, which is
/// empty then. All else that backward computes is dropped, and so is the loss with its graph:
/// `loss.detach()` before keeps its value.
///
/// Runs on a thread with a stack deep enough for long graphs, see [`on_deep_stack`].
///
/// # Errors
/// When an operation has no backward, or no thread can be started.
pub fn gradients(loss: Tensor, vars: &[Var], sink: Option<&GradSink>) -> Result<Gradients> {
    on_deep_stack(move || {
        let mut all = backward(&loss, vars)?;
        if let Some(sink) = sink {
            all.add_all(vars, &sink.take())?;
        }
        drop(loss);
        Ok(all)
    })?
}

/// Backward on this thread.
pub(crate) fn backward(loss: &Tensor, vars: &[Var]) -> Result<Gradients> {
    let mut store = loss.backward()?;
    let mut all = Gradients::new();
    for var in vars {
        if let Some(gradient) = store.remove(var) {
            all.set(var, &gradient);
        }
    }
    Ok(all)
}

thread_local! {
    static IS_DEEP: Cell<bool> = const { Cell::new(false) };
}

/// Runs something on a thread with a deep stack and waits for it: whatever builds, walks or drops
/// a graph of more than a few thousand operations. On such a thread it is simply called, so a
/// training loop inside needs one thread for all its steps. (The thread is in no thread pool:
/// work inside is spread over rayon's global one.)
///
/// # Errors
/// When no thread can be started. A panic goes on in the caller.
pub fn on_deep_stack<R: Send>(run: impl FnOnce() -> R + Send) -> Result<R> {
    if IS_DEEP.get() {
        return Ok(run());
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("gradients".to_owned()).stack_size(STACK_BYTES);
        let deep = || {
            IS_DEEP.set(true);
            run()
        };
        let handle = builder.spawn_scoped(scope, deep).map_err(Error::wrap)?;
        Ok(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
