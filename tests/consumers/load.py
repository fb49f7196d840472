#!/usr/bin/env python3
"""Load what planish wrote with the real consumers, on the CPU, and compare logits with planish's own.

    tests/run --consumers          # installs them, writes all targets of two models, and calls this
    load.py WORK_DIR [GOLDEN]

WORK_DIR has a folder for each model and target, `MODEL/TARGET`, beside `MODEL/TARGET.logits.safetensors` with `ids` (I64,
[tokens]) and `logits` (F32, [tokens, vocab]) that planish's executor computed from that folder. Exit status 1 if any is further
away than TOLERANCE. GOLDEN is written with the consumers' logits of tiny-llama: of the last tokens, and of the first of the
vocabulary.
"""
import functools, json, os, sys
import torch
import compressed_tensors.compressors.nvfp4.base as fp4
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AwqConfig, GPTQConfig

TOLERANCE = 1e-2
torch.set_num_threads(2)
# Four-bit floats are unpacked to BF16 whatever type the model is loaded in, which rounds them; in F32 they are exact.
fp4.unpack_fp4_from_uint8 = functools.partial(fp4.unpack_fp4_from_uint8, dtype=torch.float32)


def model(folder):
    """In F32, with nothing done to activations: what is compared is the weights."""
    # Without a GPU, FP8 checkpoints are made dense by transformers.
    config = json.load(open(os.path.join(folder, "config.json")))["quantization_config"]
    more = {}
    if config["quant_method"] == "gptq": more["quantization_config"] = GPTQConfig.from_dict({**config, "backend": "gptq_torch"})
    if config["quant_method"] == "awq": more["quantization_config"] = AwqConfig.from_dict({**config, "backend": "torch_awq"})
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **more).eval()
    with torch.no_grad(): loaded(torch.tensor([[1, 2]]))
    for name, module in list(loaded.named_modules()):
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is not None: scheme.input_activations = None
        if hasattr(module, "qweight"): loaded.set_submodule(name, dense(module))
    return loaded


def dense(module):
    """A linear of gptqmodel with the weights that it unpacks, which are in F16, and products in F32. Its kernels for the CPU
    round what they multiply, too."""
    with torch.no_grad():
        if hasattr(module, "_dequantize_weight_for_inference"):
            weight = module._dequantize_weight_for_inference(module.scales.half(), dtype=torch.float16)
        else:
            weight = module.dequantize_weight()
    linear = torch.nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
    linear.weight.data = weight.T.contiguous().float()
    if module.bias is not None: linear.bias.data = module.bias.data.float()
    return linear


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
