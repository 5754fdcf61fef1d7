//! What a layer computes, as data: for programs that run the network elsewhere.

use super::column::Column;

/// What a layer computes in evaluation. Its arrays are those of [`Layer::tensors`](super::Layer::tensors) and
/// [`Layer::buffers`](super::Layer::buffers), by name; the formulas are in the layers' own files.
pub enum Operation<'a> {
    /// `y = x`.
    Identity,
    /// `y = max(x, 0)`.
    Relu,
    /// Convolution, stride 1, zero padding that keeps the size.
    Conv,
    /// `y = W x + b`.
    Dense,
    /// Maximum of windows side by side.
    MaxPool {
        /// Side of a window.
        side: usize,
    },
    /// `y = x - strength_c * mean of the 8 neighbours`.
    LateralInhibition,
    /// A gate for each map.
    ChannelAttention,
    /// A gate for each pixel.
    SpatialAttention,
    /// `y = gain (x - mean) / sqrt(var + eps) + bias` by channel, with the running statistics.
    BatchNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// A cortical column.
    Column(&'a Column),
}
