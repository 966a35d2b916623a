// Every word that the console says, in English and Chinese.

import { recall, remember } from "./prefs.js";

// The three prompts are of kinds that the bundled model does well.
const ENGLISH = {
  appName: "Assistant",
  newChat: "New chat",
  search: "Search conversations",
  noConversations: "Conversations appear here.",
  nothingFound: "Nothing found.",
  today: "Today", yesterday: "Yesterday", week: "Last 7 days", older: "Older",
  status: "Status", settings: "Settings",
  openSidebar: "Show conversations", closeSidebar: "Hide conversations",
  conversations: "Conversations", conversation: "Conversation",
  more: "More for “{title}”", rename: "Rename", delete: "Delete", exportOne: "Export",
  title: "Title", untitled: "Untitled",
  deleted: "Deleted “{title}”.", undo: "Undo", dismiss: "Dismiss",
  greeting: "What shall we do?",
  greetingMore: "Conversations are kept by your own assistant.",
  prompt1: "Hello! Who are you?",
  prompt2: "Please tell a bedtime story about a fox.",
  prompt3: "How do you say \"I like music.\" in Chinese?",
  starterTitle: "This is Ember, the model that ships with the assistant",
  starterNote: "A 38-million-parameter model: it greets, copies and edits text, tells tiny stories; it knows little and invents facts. Add a real model with",
  starterShort: "Ember is a very small model: it invents facts.",
  footnote: "Models make mistakes. Check what matters.",
  placeholder: "Write a message",
  send: "Send (Enter)", stop: "Stop (Esc)",
  model: "Model", noModel: "No model",
  ready: "ready", loading: "loading", unloaded: "not loaded", failed: "failed",
  you: "You", assistantSays: "Assistant",
  copy: "Copy", copied: "Copied", copyCode: "Copy code",
  regenerate: "Answer again", edit: "Edit", cancel: "Cancel", saveSend: "Send again",
  editMessage: "Edit your message", retry: "Try again", answerNow: "Answer now",
  thinking: "Thinking", thought: "Thoughts",
  waiting: "Waiting for the first word", answering: "The assistant is answering.",
  answered: "The answer is complete.",
  loadingModel: "{model} is being loaded · {percent} %", loadingEta: "about {seconds} s left",
  stoppedMark: "You stopped this answer.",
  partialMark: "This answer was cut off when the page closed.",
  lengthMark: "The answer reached its length limit.",
  unanswered: "This message has no answer yet.",
  toolCall: "The model asked for a tool",
  toBottom: "To the newest message",
  ttft: "first word after {seconds} s", speed: "{speed} tokens/s", tokens: "{count} tokens",
  cachedTokens: "{cached} of {prompt} prompt tokens were remembered",
  errNetwork: "The assistant cannot be reached. Is it running? Your text is kept.",
  errLost: "The connection was lost in the middle of the answer. What had arrived is kept.",
  errServer: "The assistant could not answer: {message}",
  errFailedModel: "The model could not be loaded: {message}",
  errSaving: "This conversation cannot be saved now: {message}",
  errMissing: "This conversation does not exist any more.",
  errList: "The conversations cannot be shown: {message}",
  thisConversation: "This conversation", thisBrowser: "This browser",
  systemPrompt: "System prompt", systemHint: "How the model should behave. It is sent before every message.",
  temperature: "Temperature", temperatureHint: "Lower is steadier, higher more varied. Empty: what the model recommends.",
  maxTokens: "Longest answer (tokens)", maxTokensHint: "Empty: until the model ends.",
  language: "Language", theme: "Theme", auto: "Auto", light: "Light", dark: "Dark",
  apiKey: "API key", changeKey: "Change key", exportAll: "Export all conversations", done: "Done",
  keyTitle: "This assistant asks for a key",
  keyHint: "It is kept in this browser only and sent with every request.",
  keyWrong: "That key was not accepted.", keySave: "Continue",
  statusTitle: "Status", uptime: "Running for", version: "Version", memory: "Memory", process: "Process",
  back: "Back to the conversation",
  statusLost: "The node does not answer. Trying again…",
  statusForbidden: "The node refuses to show its status: {message}",
  noModels: "No models yet.",
  defaultModel: "default", parameters: "parameters", context: "context", embedding: "embeddings",
  decodeSpeed: "Writing", prefillSpeed: "Reading", tokensPerSecond: "tokens/s",
  slots: "Requests", running: "running", waitingRequests: "waiting", parked: "parked", ofSlots: "of {slots} slots",
  kvCache: "KV cache", used: "in use", retained: "kept", free: "free",
  promptTokens: "Prompt tokens", cached: "remembered", computed: "computed", generated: "written",
  perStep: "Time per step", kernels: "kernels", python: "Python", restarts: "Restarts", threads: "Threads",
  engineMemory: "Engine memory", forPrompts: "{count} for prompts",
  otherPrograms: "Other programs", cores: "cores",
  keptInRam: "Kept in RAM", keptOnDisk: "Kept on disk", fromRam: "from RAM", fromDisk: "from disk",
  preemptions: "Preemptions", guessedRight: "Good guesses",
};

const CHINESE = {
  appName: "智能助手",
  newChat: "新对话",
  search: "搜索对话",
  noConversations: "对话会显示在这里。",
  nothingFound: "没有找到。",
  today: "今天", yesterday: "昨天", week: "最近 7 天", older: "更早",
  status: "状态", settings: "设置",
  openSidebar: "显示对话列表", closeSidebar: "隐藏对话列表",
  conversations: "对话列表", conversation: "对话",
  more: "“{title}”的更多操作", rename: "重命名", delete: "删除", exportOne: "导出",
  title: "标题", untitled: "未命名",
  deleted: "已删除“{title}”。", undo: "撤销", dismiss: "关闭",
  greeting: "想聊点什么？",
  greetingMore: "对话保存在你自己的助手里。",
  prompt1: "你好，你是谁？",
  prompt2: "我想听小猫的故事。",
  prompt3: "Translate to English: 今天天气很好。",
  starterTitle: "这是助手自带的模型 Ember",
  starterNote: "它只有 3800 万参数：会打招呼、抄写和修改文字、讲很短的故事；它知道得很少，会编造事实。要使用真正的模型，请运行",
  starterShort: "Ember 是非常小的模型：会编造事实。",
  footnote: "模型会出错，重要内容请核对。",
  placeholder: "输入消息",
  send: "发送（Enter）", stop: "停止（Esc）",
  model: "模型", noModel: "没有模型",
  ready: "就绪", loading: "加载中", unloaded: "未加载", failed: "失败",
  you: "你", assistantSays: "助手",
  copy: "复制", copied: "已复制", copyCode: "复制代码",
  regenerate: "重新回答", edit: "编辑", cancel: "取消", saveSend: "重新发送",
  editMessage: "编辑你的消息", retry: "重试", answerNow: "现在回答",
  thinking: "思考中", thought: "思考过程",
  waiting: "正在等待第一个字", answering: "助手正在回答。",
  answered: "回答完成。",
  loadingModel: "正在加载 {model} · {percent} %", loadingEta: "大约还需 {seconds} 秒",
  stoppedMark: "你停止了这次回答。",
  partialMark: "页面关闭时，这次回答被中断了。",
  lengthMark: "回答达到了长度上限。",
  unanswered: "这条消息还没有回答。",
  toolCall: "模型请求调用工具",
  toBottom: "回到最新消息",
  ttft: "{seconds} 秒后出现第一个字", speed: "{speed} 词元/秒", tokens: "{count} 个词元",
  cachedTokens: "{prompt} 个提示词元中有 {cached} 个来自缓存",
  errNetwork: "无法连接到助手。它在运行吗？你的文字已保留。",
  errLost: "回答途中连接断开，已收到的内容已保留。",
  errServer: "助手无法回答：{message}",
  errFailedModel: "模型无法加载：{message}",
  errSaving: "现在无法保存这个对话：{message}",
  errMissing: "这个对话已不存在。",
  errList: "无法显示对话列表：{message}",
  thisConversation: "当前对话", thisBrowser: "当前浏览器",
  systemPrompt: "系统提示词", systemHint: "说明模型应当如何表现，会在每条消息之前发送。",
  temperature: "温度", temperatureHint: "越低越稳定，越高越多样。留空则使用模型推荐值。",
  maxTokens: "回答长度上限（词元）", maxTokensHint: "留空则直到模型自行结束。",
  language: "语言", theme: "主题", auto: "自动", light: "浅色", dark: "深色",
  apiKey: "API 密钥", changeKey: "更换密钥", exportAll: "导出全部对话", done: "完成",
  keyTitle: "这个助手需要密钥",
  keyHint: "密钥只保存在这个浏览器中，并随每次请求发送。",
  keyWrong: "这个密钥未被接受。", keySave: "继续",
  statusTitle: "状态", uptime: "已运行", version: "版本", memory: "内存", process: "进程",
  back: "返回对话",
  statusLost: "节点没有响应，正在重试…",
  statusForbidden: "节点拒绝显示状态：{message}",
  noModels: "还没有模型。",
  defaultModel: "默认", parameters: "参数", context: "上下文", embedding: "嵌入",
  decodeSpeed: "生成", prefillSpeed: "读取", tokensPerSecond: "词元/秒",
  slots: "请求", running: "运行", waitingRequests: "等待", parked: "暂存", ofSlots: "共 {slots} 个槽位",
  kvCache: "KV 缓存", used: "使用中", retained: "保留", free: "空闲",
  promptTokens: "提示词元", cached: "来自缓存", computed: "新计算", generated: "已生成",
  perStep: "每步用时", kernels: "内核", python: "Python", restarts: "重启次数", threads: "线程",
  engineMemory: "引擎内存", forPrompts: "提示词 {count}",
  otherPrograms: "其他程序占用", cores: "核",
  keptInRam: "内存中保留", keptOnDisk: "磁盘上保留", fromRam: "来自内存", fromDisk: "来自磁盘",
  preemptions: "抢占次数", guessedRight: "预测命中",
};

let words = ENGLISH;

export function t(key, args = {}) {
  const text = words[key] ?? ENGLISH[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => args[name] ?? whole);
}

export function translate(node) {
  const { t: text, tLabel, tPlaceholder, tArgs } = node.dataset;
  const args = tArgs ? JSON.parse(tArgs) : {};
  if (text) node.textContent = t(text, args);
  if (tPlaceholder) node.placeholder = t(tPlaceholder, args);
  if (tLabel) {
    node.setAttribute("aria-label", t(tLabel, args));
    if (node.tagName === "BUTTON") node.title = t(tLabel, args);
  }
}

export const languageChoice = () => recall("language", "auto");
export const isChinese = () => words === CHINESE;

// Everything already on the page changes its words in place.
export function setLanguage(choice) {
  remember("language", choice === "auto" ? null : choice);
  const wanted = choice === "auto" ? navigator.language : choice;
  words = wanted.startsWith("zh") ? CHINESE : ENGLISH;
  document.documentElement.lang = isChinese() ? "zh-CN" : "en";
  document.querySelectorAll("[data-t], [data-t-label], [data-t-placeholder]").forEach(translate);
  document.dispatchEvent(new Event("languagechanged"));
}
