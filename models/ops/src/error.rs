//! What is wrong with the arguments of an operation.

use candle_core::{DType, Error, Tensor};

/// Arguments that do not fit an operation. It travels inside [`candle_core::Error::Wrapped`], as
/// everything that calls these operations speaks candle's `Result`.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentError {
    /// A tensor has another shape than the operation takes.
    #[error("{operation}: `{argument}` is {given:?}, but {expected} is expected")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// The name of the argument in the operation's signature.
        argument: &'static str,
        /// The shape that was given.
        given: Vec<usize>,
        /// The shape that fits, in words and numbers.
        expected: String,
    },
    /// A number is out of range.
    #[error("{operation}: `{argument}` is {given}, but {expected} is expected")]
    Value {
        /// The operation.
        operation: &'static str,
        /// The name of the argument.
        argument: &'static str,
        /// What was given.
        given: String,
        /// What fits.
        expected: String,
    },
    /// Two tensors differ in type.
    #[error(
        "{operation}: `{argument}` is {given:?}, but {expected:?} as of the input is expected; \
         convert it with `to_dtype`"
    )]
    Type {
        /// The operation.
        operation: &'static str,
        /// The name of the argument.
        argument: &'static str,
        /// The type that was given.
        given: DType,
        /// The type of the input.
        expected: DType,
    },
}

impl From<ArgumentError> for Error {
    fn from(error: ArgumentError) -> Self {
        Self::wrap(error)
    }
}

/// The error that says that a tensor has another shape.
pub(crate) fn shape(
    operation: &'static str,
    argument: &'static str,
    given: &Tensor,
    expected: impl Into<String>,
) -> Error {
    let (given, expected) = (given.dims().to_vec(), expected.into());
    ArgumentError::Shape { operation, argument, given, expected }.into()
}

/// The error that says that a number is out of range.
pub(crate) fn range(
    operation: &'static str,
    argument: &'static str,
    given: impl std::fmt::Debug,
    expected: impl Into<String>,
) -> Error {
    let (given, expected) = (format!("{given:?}"), expected.into());
    ArgumentError::Value { operation, argument, given, expected }.into()
}

/// Checks that a tensor has a shape.
pub(crate) fn check_shape(
    operation: &'static str,
    argument: &'static str,
    given: &Tensor,
    expected: &[usize],
) -> Result<(), Error> {
    if given.dims() == expected {
        return Ok(());
    }
    Err(shape(operation, argument, given, format!("{expected:?}")))
}

/// Checks that a tensor has the type of the input.
pub(crate) fn check_type(
    operation: &'static str,
    argument: &'static str,
    given: &Tensor,
    input: &Tensor,
) -> Result<(), Error> {
    let (given, expected) = (given.dtype(), input.dtype());
    if given == expected {
        return Ok(());
    }
    Err(ArgumentError::Type { operation, argument, given, expected }.into())
}
