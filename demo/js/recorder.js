/** The microphone as a stream of blocks, with the last seconds kept. Sound is neither stored nor sent. */
import { PageError } from "./errors.js";

export class Recorder {
  /** keepS: how many of the last seconds are kept. */
  constructor(keepS = 30) {
    [this.keepS, this.blocks, this.nSamples] = [keepS, [], 0];
  }

  /** Ask for the microphone and begin; onBlock is told the level of each block, in [0, 1]. */
  async start(onBlock) {
    if (!navigator.mediaDevices?.getUserMedia) throw new PageError("no microphone here: open the page by https");
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: plain }).catch((error) => {
      throw new PageError(`the microphone is not available (${error.message})`);
    });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(new URL("./recorder_worklet.js", import.meta.url));
    const tap = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 0 });
    tap.port.onmessage = ({ data }) => {
      this.add(data);
      onBlock(Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length));
    };
    this.context.createMediaStreamSource(this.stream).connect(tap);
    await this.context.resume();
  }

  add(block) {
    this.blocks.push(block);
    this.nSamples += block.length;
    while (this.nSamples - this.blocks[0].length >= this.keepS * this.context.sampleRate) {
      this.nSamples -= this.blocks.shift().length;
    }
  }

  /** The last seconds as a clip {samples, rateHz}, shorter where there are not so many. */
  last(seconds) {
    const wanted = Math.min(this.nSamples, Math.round(seconds * this.context.sampleRate));
    const samples = new Float32Array(wanted);
    let end = wanted;
    for (let index = this.blocks.length - 1; index >= 0 && end > 0; index--) {
      const block = this.blocks[index];
      const part = block.subarray(Math.max(0, block.length - end));
      end -= part.length;
      samples.set(part, end);
    }
    return { samples, rateHz: this.context.sampleRate };
  }

  /** End: the microphone is given back. */
  async stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    await this.context?.close();
  }
}
