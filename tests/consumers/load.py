#!/usr/bin/env python3
"""Load what planish wrote with the real consumers, on the CPU, and compare logits with planish's own.

    tests/run --consumers          # installs them, writes all targets of each model, and calls this
    load.py WORK_DIR [GOLDEN]

WORK_DIR has a folder for each model and target, `MODEL/TARGET`, beside `MODEL/TARGET.logits.safetensors` with `ids` (I64,
[tokens]) and `logits` (F32, [tokens, vocab]) that planish's executor computed from that folder. Exit status 1 if any is further
away than TOLERANCE. GOLDEN is written with the consumers' logits of tiny-llama: of the last tokens, and of the first of the
vocabulary.
"""
import functools, json, os, sys, tempfile
import torch
import compressed_tensors.compressors.nvfp4.base as fp4
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2PreTrainedModel

TOLERANCE = 1e-2
torch.set_num_threads(2)
# Four-bit floats are unpacked to BF16 whatever type the model is loaded in, which rounds them; in F32 they are exact.
fp4.unpack_fp4_from_uint8 = functools.partial(fp4.unpack_fp4_from_uint8, dtype=torch.float32)
# transformers would initialise the weights of GPT-2's c_proj before it reads them, which a quantized module has none of;
# gptqmodel's own loader turns that off too.
GPT2PreTrainedModel._init_weights = lambda self, module: None


def model(folder):
    """In F32, with nothing done to activations: what is compared is the weights."""
    # Without a GPU, FP8 checkpoints are made dense by transformers.
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad(): loaded(torch.tensor([[1, 2]]))
    method = json.load(open(os.path.join(folder, "config.json")))["quantization_config"]["quant_method"]
    weights = {"gptq": gptq, "awq": awq}.get(method, lambda _: {})(folder)
    for name, module in list(loaded.named_modules()):
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is not None: scheme.input_activations = None
        if hasattr(module, "qweight"): loaded.set_submodule(name, dense(module, weights[name + ".weight"]))
    return loaded


def dense(module, weight):
    """A linear in F32 for one of gptqmodel, whose kernels for the CPU round weights and what they multiply to 16 bits: on a
    model with large activations that moves logits by 5e-2."""
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None)
    linear.weight.data = weight.contiguous()
    if module.bias is not None: linear.bias.data = module.bias.data.float()
    return linear


def gptq(folder):
    """The weights by gptqmodel's own conversion to a dense checkpoint."""
    from gptqmodel.utils.model_dequant import dequantize_model
    with tempfile.TemporaryDirectory() as work:
        dequantize_model(folder, work + "/dense", target_dtype=torch.float32)
        files = [f for f in os.listdir(work + "/dense") if f.endswith(".safetensors")]
        return {name: tensor for f in files for name, tensor in load_file(f"{work}/dense/{f}").items()}


def awq(folder):
    """The weights by compressed-tensors' conversion of AutoAWQ checkpoints."""
    from compressed_tensors.entrypoints.convert.converters.autoawq import AutoAWQConverter
    tensors, weights = load_file(os.path.join(folder, "model.safetensors")), {}
    for name in [n.removesuffix(".qweight") for n in tensors if n.endswith(".qweight")]:
        q, z = AutoAWQConverter.unpack_awq(tensors[name + ".qweight"], tensors[name + ".qzeros"], 4)
        q, z = AutoAWQConverter.reverse_awq_order(q, z, 4)
        scales = tensors[name + ".scales"].float()
        group = q.shape[0] // scales.shape[0]
        difference = (q & 15) - (z & 15).repeat_interleave(group, 0)
        weights[name + ".weight"] = (difference.float() * scales.repeat_interleave(group, 0)).T
    return weights


def main(work, golden=None):
    failed, checked, kept = 0, 0, {}
    for name in sorted(os.listdir(work)):
        for file in sorted(os.listdir(os.path.join(work, name))):
            if not file.endswith(".logits.safetensors"): continue
            target = file.removesuffix(".logits.safetensors")
            ours = load_file(os.path.join(work, name, file))
            try:
                with torch.no_grad(): theirs = model(os.path.join(work, name, target))(ours["ids"][None]).logits[0].float()
            except Exception as error:
                print(f"{name:12} {target:12} FAILED: {str(error)[:400]}")
                failed += 1
                continue
            off = (theirs - ours["logits"]).abs().max().item()
            checked += 1
            if name == "tiny-llama": kept[target] = theirs[-4:, :128].contiguous()
            failed += not off <= TOLERANCE
            print(f"{name:12} {target:12} off by {off:.2e}{'' if off <= TOLERANCE else '  TOO FAR'}", flush=True)
    if golden: save_file(kept, golden)
    print(f"{checked} compared, {failed} failed")
    return 1 if failed or not checked else 0


if __name__ == "__main__": sys.exit(main(*sys.argv[1:]))
