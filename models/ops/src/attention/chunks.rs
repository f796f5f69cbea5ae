//! Attention by candle's operations, a stretch of queries at a time: for devices and types without
//! a kernel.
//!
//! Decided against tiles of keys as well: with stretches of queries the memory is linear in the
//! number of tokens already, and matrix products stay as large as they can be.

use candle_core::{D, DType, Result, Tensor};

use super::Tensors;

/// What forward and backward both need.
pub(super) struct Work {
    pub(super) tensors: Tensors,
    /// Queries at a time.
    pub(super) chunk: usize,
}

impl Work {
    fn chunks(&self) -> Result<impl Iterator<Item = (usize, usize)> + use<>> {
        let (queries, chunk) = (self.tensors.q.dim(2)?, self.chunk);
        Ok((0..queries).step_by(chunk).map(move |first| (first, chunk.min(queries - first))))
    }

    /// The scores of some queries, in single precision if the inputs have half.
    fn scores(&self, q: &Tensor, first: usize) -> Result<Tensor> {
        let scores = (q.matmul(&self.tensors.k.t()?)? * self.tensors.scale)?;
        let scores = match scores.dtype() {
            DType::BF16 | DType::F16 => scores.to_dtype(DType::F32)?,
            _ => scores,
        };
        let Some(mask) = &self.tensors.mask else { return Ok(scores) };
        let mask = if mask.dim(2)? == 1 { mask.clone() } else { mask.narrow(2, first, q.dim(2)?)? };
        scores.broadcast_add(&mask.to_dtype(scores.dtype())?)
    }

    /// The result, and the logarithm of each row's sum of exponentials.
    pub(super) fn forward(&self) -> Result<(Tensor, Tensor)> {
        let (mut results, mut sums) = (Vec::new(), Vec::new());
        for (first, count) in self.chunks()? {
            let scores =
                self.scores(&self.tensors.q.narrow(2, first, count)?.contiguous()?, first)?;
            let largest = scores.max_keepdim(D::Minus1)?;
            let exponentials = scores.broadcast_sub(&largest)?.exp()?;
            let sum = exponentials.sum_keepdim(D::Minus1)?;
            sums.push((largest + sum.log()?)?);
            let weights = exponentials.broadcast_div(&sum)?.to_dtype(self.tensors.q.dtype())?;
            results.push(weights.matmul(&self.tensors.v)?);
        }
        Ok((Tensor::cat(&results, 2)?, Tensor::cat(&sums, 2)?))
    }

    pub(super) fn backward(
        &self,
        y: &Tensor,
        sums: &Tensor,
        gy: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let (mut gk, mut gv, mut gq) =
            (self.tensors.k.zeros_like()?, self.tensors.v.zeros_like()?, Vec::new());
        let (keys, values) = (self.tensors.k.clone(), self.tensors.v.t()?);
        for (first, count) in self.chunks()? {
            let part = |tensor: &Tensor| tensor.narrow(2, first, count)?.contiguous();
            let (q, y, gy, sums) = (part(&self.tensors.q)?, part(y)?, part(gy)?, part(sums)?);
            let weights = self.scores(&q, first)?.broadcast_sub(&sums)?.exp()?;
            let narrow = weights.to_dtype(q.dtype())?;
            gv = (gv + narrow.t()?.matmul(&gy)?)?;
            let along = (gy.to_dtype(weights.dtype())? * y.to_dtype(weights.dtype())?)?
                .sum_keepdim(D::Minus1)?;
            let gs = gy.matmul(&values)?.to_dtype(weights.dtype())?.broadcast_sub(&along)?;
            let gs = ((weights * gs)? * self.tensors.scale)?.to_dtype(q.dtype())?;
            gq.push(gs.matmul(&keys)?);
            gk = (gk + gs.t()?.matmul(&q)?)?;
        }
        Ok(vec![Some(Tensor::cat(&gq, 2)?), Some(gk), Some(gv)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Rng;

    #[test]
    fn stretches_give_what_the_kernel_gives() {
        let normal = |seed, shape: [usize; 4]| {
            Rng::new(seed).normal_tensor(shape.as_slice(), DType::F64, &Device::Cpu).unwrap()
        };
        let (q, k) = (normal(1, [2, 3, 7, 4]), normal(2, [2, 3, 5, 4]));
        let (v, gy) = (normal(3, [2, 3, 5, 6]), normal(4, [2, 3, 7, 6]));
        let close = |a: &Tensor, b: &Tensor| {
            let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f64>().unwrap() < 1e-12);
        };
        for mask in [None, Some(normal(5, [2, 1, 1, 5])), Some(normal(6, [1, 3, 7, 5]))] {
            let tensors = Tensors { q: q.clone(), k: k.clone(), v: v.clone(), mask, scale: 0.7 };
            let [whole, parts] = [7, 3].map(|chunk| Work { tensors: tensors.clone(), chunk });
            let (y, sums) = tensors.lend::<f64, _>(super::super::kernels::forward).unwrap();
            let shape = (2, 3, 7, 6);
            let kernel = Tensor::from_vec(y.clone(), shape, &Device::Cpu).unwrap();
            for work in [whole, parts] {
                let (result, logarithms) = work.forward().unwrap();
                close(&result, &kernel);
                let of_kernel = Tensor::from_vec(sums.clone(), (2, 3, 7, 1), &Device::Cpu);
                close(&logarithms, &of_kernel.unwrap());
                let back = work.backward(&result, &logarithms, &gy).unwrap();
                let flat = gy.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                let wanted = tensors.lend(|inputs| {
                    super::super::kernels::backward(inputs, &y, &sums, &flat, [true; 3])
                });
                for (given, wanted) in back.iter().zip(wanted.unwrap()) {
                    let given = given.as_ref().unwrap();
                    close(given, &Tensor::from_vec(wanted, given.shape(), &Device::Cpu).unwrap());
                }
            }
        }
    }
}
